"""The work of handlers that goes on in chunks, on the queue transport.

One chunk is done a turn, and the work then stands at the back: nobody waits for more than a chunk.
"""

from collections import deque
from collections.abc import Callable, Iterator

from liquidation.transport.base import Step
from liquidation.transport.queue_call import QueueCall

_MORE = Step.MORE


class Works:
    """Work that is due, and work that waits for `resume`; for the answering thread."""

    def __init__(self, failed: Callable[[QueueCall, BaseException], None]) -> None:
        """`failed` ends a call whose work raised."""
        self._failed = failed
        self.due: deque[tuple[QueueCall, Iterator[Step]]] = deque()
        self._parked: set[QueueCall] = set()

    @property
    def all_done(self) -> bool:
        """Whether no work is due or waits."""
        return not (self.due or self._parked)

    def do_chunk(self) -> None:
        """Does one chunk of the work that has waited the longest."""
        call, work = self.due.popleft()
        try:
            step = next(work, None)
        except BaseException as error:  # noqa: BLE001 - one call must not end all others
            self._failed(call, error)
            call.worked()
            return
        if step is None:
            call.worked()
        elif step is _MORE:
            self.due.append((call, work))
        elif call.permits:
            call.permits -= 1
            self.due.append((call, work))
        else:
            call.parked = work
            self._parked.add(call)
            call.waits()

    def resume(self, call: QueueCall) -> None:
        """Lets the work of a call go on that waits, or will."""
        if call.parked is None:
            call.permits += 1
        else:
            self._parked.discard(call)
            self.due.append((call, call.parked))
            call.parked = None

    def close(self) -> None:
        """Gives up what is not done."""
        works = [work for _, work in self.due]
        works += [call.parked for call in self._parked if call.parked is not None]
        self.due.clear()
        self._parked.clear()
        for work in works:
            if (close := getattr(work, "close", None)) is not None:
                close()
