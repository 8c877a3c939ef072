"""What waits on the queue transport: calls for their callers, and the work of handlers."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from liquidation.transport.base import (
    DRAINING,
    LATE_REQUEST,
    LISTEN_S,
    READ_S,
    SHED_REQUEST,
    SHED_STREAM,
    Status,
    Step,
)
from liquidation.transport.queue_call import QueueCall
from liquidation.transport.queue_streams import StreamCall

_MORE = Step.MORE


class Waiting:
    """Who waits for a caller, and since when."""

    def __init__(self, max_call_s: float) -> None:
        """`max_call_s` is how long a call's one request may take to come, in seconds."""
        self._max_call_s = max_call_s
        # Calls whose one request has not come, oldest first.
        self.awaited: dict[QueueCall, None] = {}
        # Streams that wait for their callers; subscriptions from their request on.
        self.idle: dict[StreamCall, None] = {}
        # Streams that were told to end, and until when they may take to hear it.
        self._leaving: dict[StreamCall, float] = {}
        self.sheds = 0

    def came(self, call: QueueCall) -> bool:
        """The one request of `call` is there; False if the call was ended before."""
        return self.awaited.pop(call, call) is None

    def forget(self, stream: StreamCall) -> None:
        """A stream is over."""
        self.idle.pop(stream, None)
        self._leaving.pop(stream, None)

    def look(self, now_s: float) -> None:
        """Ends what is due: requests that do not come, streams that do not hear."""
        for call in list(self.awaited):
            if now_s - call.since < self._max_call_s:
                break
            del self.awaited[call]
            call.refuse(*LATE_REQUEST)
        for stream, until_s in list(self._leaving.items()):
            if now_s >= until_s:
                del self._leaving[stream]
                stream.cut_off()

    def leave(self, stream: StreamCall, status: Status) -> None:
        """Ends a stream, soon even if its caller does not read."""
        stream.refuse(*status)
        self._leaving[stream] = time.monotonic() + LISTEN_S

    def let_leave(self, stream: StreamCall) -> None:
        """Gives a stream that its handler ended some time until its caller has read the end."""
        self._leaving.setdefault(stream, time.monotonic() + READ_S)

    def end_idle(self) -> None:
        """Ends the streams that wait for their callers, since the server ends."""
        for stream in list(self.idle):
            if stream.is_subscription:
                self.leave(stream, DRAINING)
            else:
                stream.refuse(*DRAINING)

    def shed(self) -> int:
        """Ends the calls that have waited since before the last shed; how many."""
        before, self.sheds = self.sheds, self.sheds + 1
        streams = [each for each in self.idle if each.waited < before]
        requests = [each for each in self.awaited if each.waited < before]
        for stream in streams:
            stream.drop_unsent()
            self.leave(stream, SHED_STREAM)
            self.idle.pop(stream, None)
        for call in requests:
            del self.awaited[call]
            call.refuse(*SHED_REQUEST)
        return len(streams) + len(requests)


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
