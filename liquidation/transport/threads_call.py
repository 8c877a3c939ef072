"""The calls of the threads transport: each is run by a thread of grpcio's server.

What a call knows is under a lock of its own; handlers run under the server's.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc

from liquidation.transport.base import (
    FAULT,
    SHED_REQUEST,
    Metadata,
    Status,
    Step,
    Work,
)

if TYPE_CHECKING:
    from liquidation.transport.threads import ThreadsServer

_CANCELLED: Final = 1
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# A time that no deadline reaches, in seconds.
_NEVER: Final = 9e9


class Turn:
    """A lock that is had in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class ThreadCall:
    """One call. `run` is all that it does, on its thread."""

    shed_status = SHED_REQUEST

    def __init__(self, server: "ThreadsServer", context: Any, method: str) -> None:
        self._server = server
        self._context = context
        self.method = method
        self._waited = server.sheds
        self._since = time.monotonic()
        self._changed = threading.Condition()
        self._inbox: deque[bytes] = deque()
        self._half_closed = False
        self._out: deque[bytes] = deque()
        # The size of the message that grpcio is sending, or None.
        self._sending: int | None = None
        self._status: tuple[int, str, Metadata] | None = None
        self._work: Work = None
        self._parked = False
        self._permits = 0
        self._cancelled = False
        self._over = False
        self._told = False
        self._leave_by_s = float("inf")

    @property
    def metadata(self) -> Metadata:
        return tuple(self._context.invocation_metadata() or ())

    @property
    def peer(self) -> str:
        peer: str = self._context.peer()
        return peer

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def time_remaining(self) -> float | None:
        left: float = self._context.time_remaining()
        return None if left > _NEVER / 2 else left

    def set_trailers(self, trailers: Metadata) -> None:
        """Sets what is sent with the status of a reply; streams end by `refuse`."""

    def reply(self, message: bytes) -> bool:
        raise TypeError(f"{self.method} is no unary call: {len(message)} bytes are not sent")

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        message.encode()
        self._end(code, message, trailers)

    def send(self, message: bytes) -> bool:
        with self._changed:
            if self._status is None and not self._over:
                if not self._server.untaken.admit(len(message)):
                    return False
                self._out.append(message)
                self._changed.notify_all()
        return True

    def send_latest(self, message: bytes) -> None:
        with self._changed:
            if self._status is None and not self._over:
                self._drop_unsent()
        self.send(message)

    @property
    def unsent(self) -> int:
        with self._changed:
            return len(self._out) + (self._sending is not None)

    def resume(self) -> None:
        with self._changed:
            self._permits += 1
            self._changed.notify_all()

    def run(self, requests: Any) -> Iterator[bytes]:
        """Reads, hands over and sends, until the call has ended; gives what is to be sent."""
        self._server.began(self)
        self._server.readers.submit(self._read, requests)
        try:
            if not self._context.add_callback(self._gone):
                self._gone()
            while (step := self._next()) is not None:
                if not step():
                    continue
                yield self._next_message()
                self._sent()
            self._tell_status()
        finally:
            self._end_work()
            self._server.over(self)

    def waits_since(self, sheds: int) -> bool:
        """Whether the call has waited for its caller since before so many sheds."""
        with self._changed:
            return self._waits() and self._waited < sheds

    @property
    def code(self) -> int:
        """See `base.EndedCall`."""
        return self._status[0] if self._told and self._status is not None else _CANCELLED

    def drop_unsent(self) -> None:
        """Forgets what is queued and not begun to be sent."""
        with self._changed:
            self._drop_unsent()

    def leave(self, status: Status, within_s: float) -> None:
        """Ends the call, after a while even if its caller does not read."""
        self._end(*status, ())
        self._leave_by_s = time.monotonic() + within_s

    def tick(self, now_s: float) -> None:
        """Ends the call if it is late with what is due by the clock."""
        if now_s >= self._leave_by_s and not self._over:
            self._context.cancel()

    def look(self) -> None:
        """Lets the call see that something about the server has changed."""
        with self._changed:
            self._changed.notify_all()

    def _end(self, code: int, message: str, trailers: Metadata) -> None:
        with self._changed:
            if self._status is None and not self._over:
                self._status = (code, message, trailers)
                self._changed.notify_all()

    def _gone(self) -> None:
        """GRPC tells that the call is over, for whatever reason."""
        with self._changed:
            self._cancelled = self._cancelled or not self._over
            self._over = True
            self._drop_unsent()
            self._changed.notify_all()

    def _read(self, requests: Any) -> None:
        """Reads ahead as far as there is room; on a thread of its own."""
        try:
            while self._has_room():
                message = next(requests, None)
                with self._changed:
                    if message is None:
                        break
                    self._inbox.append(message)
                    self._changed.notify_all()
        except Exception:  # noqa: BLE001, S110 - how grpcio says that the call is over
            pass
        with self._changed:
            self._half_closed = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Returns once there is room for a message; False if none more is wanted."""
        raise NotImplementedError

    def _next(self) -> Callable[[], bool] | None:
        """What is to be done next, as soon as there is something; None if the call has ended.

        What it gives returns whether there is a message to be sent.
        """
        with self._changed:
            while (step := self._due()) is None and not self._ends():
                self._changed.wait()
            return step

    def _due(self) -> Callable[[], bool] | None:
        if self._out:
            return _send
        if self._work is not None:
            return self._chunk if not self._parked or self._permits else None
        if self._status is None and not self._over:
            return self._hand_over_if_due()
        return None

    def _ends(self) -> bool:
        return self._work is None and (self._status is not None or self._over)

    def _waits(self) -> bool:
        return not self._inbox and self._work is None and not self._over

    def _hand_over_if_due(self) -> Callable[[], bool] | None:
        raise NotImplementedError

    def _handle(self, handle: Callable[[], Work]) -> bool:
        with self._server.turn:
            try:
                work = handle()
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self._failed(error)
                work = None
        with self._changed:
            self._work = work
        return False

    def _chunk(self) -> bool:
        work = self._work
        assert work is not None, "there is work to do"
        with self._changed:
            self._permits -= self._parked
            self._parked = False
        with self._server.turn:
            try:
                step = next(work, None)
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self._failed(error)
                step = None
        with self._changed:
            self._parked = step is Step.WAIT
            if step is None:
                self._work = None
        return False

    def _failed(self, error: BaseException) -> None:
        self._server.fault(error)
        self._end(*FAULT, ())

    def _next_message(self) -> bytes:
        with self._changed:
            message = self._out.popleft() if self._out else b""
            self._sending = len(message)
            return message

    def _sent(self) -> None:
        with self._changed:
            if self._sending is not None:
                self._server.untaken.taken(self._sending)
                self._sending = None
            self._waited = self._server.sheds

    def _tell_status(self) -> None:
        if self._status is not None:
            self._told = True
            code, message, trailers = self._status
            self._context.set_code(_CODES.get(code, grpc.StatusCode.UNKNOWN))
            self._context.set_details(message)
            self._context.set_trailing_metadata(trailers)

    def _end_work(self) -> None:
        """Does what is left of the handler's work, though the caller may be gone."""
        self._sent()
        with self._changed:
            self._cancelled = self._cancelled or not self._told
            self._over = True
            self._drop_unsent()
        while (step := self._next()) is not None:
            step()

    def _tell_closed(self, closed: Callable[[Any], None]) -> None:
        with self._server.turn:
            try:
                closed(self)
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self._server.fault(error)

    def _drop_unsent(self) -> None:
        self._server.untaken.drop(self._out)


def _send() -> bool:
    """The next message is to be sent."""
    return True
