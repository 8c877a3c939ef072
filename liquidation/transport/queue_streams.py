"""Exchanges and subscriptions on the queue transport.

gRPC allows one message being sent a call, so what is sent waits in a queue of the call.
"""

from collections import deque
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from grpc._cython.cygrpc import (
    ReceiveCloseOnServerOperation,
    ReceiveMessageOperation,
    SendInitialMetadataOperation,
    SendMessageOperation,
    SendStatusFromServerOperation,
)

from liquidation.transport import statuses
from liquidation.transport.base import Metadata
from liquidation.transport.queue_call import QueueCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from liquidation.transport.queue_loop import Loop


_CANCELLED: Final = 1


class StreamCall(QueueCall):
    """A call that may be sent many messages."""

    __slots__ = ("_begun", "_out", "_sending", "_status", "_status_sent", "_unsettled", "over")

    # Whether its caller sends one message, and then listens.
    is_subscription = False

    def __init__(self, loop: "Loop", event: Any, waited: int, since: float) -> None:
        super().__init__(loop, event, waited, since)
        self._out: deque[bytes] = deque()
        # The size of the message that gRPC is sending, or None.
        self._sending: int | None = None
        self._status: tuple[int, bytes, Metadata] | None = None
        self._status_sent = False
        self._begun = False
        self._unsettled = False
        self.over = False

    def begin(self) -> None:
        """Reads the first message; on the answering thread."""
        self.core.start_server_batch((ReceiveCloseOnServerOperation(0),), self._closed)
        self.core.start_server_batch((ReceiveMessageOperation(0),), self._received)

    def take(self, message: Any) -> None:
        """Hands what has come to the handler."""
        raise NotImplementedError

    @property
    def unsent(self) -> int:
        return len(self._out) + (self._sending is not None)

    def send(self, message: bytes) -> bool:
        if self.ended:
            return True
        if not self._loop.untaken.admit(len(message)):
            return False
        self._here(partial(self._queue, message))
        return True

    def send_latest(self, message: bytes) -> None:
        self._here(partial(self._queue_latest, message))

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        self._here(partial(self._end, (code, message.encode(), trailers)))

    def _here(self, what: "Callable[[], None]") -> None:
        """Does it now on the answering thread, or lets that thread do it soon."""
        if get_ident() == self._loop.thread:
            what()
        else:
            self._loop.do(self.core, what)

    def _queue(self, message: bytes) -> None:
        if self.ended:
            self._loop.untaken.taken(len(message))
        else:
            self._out.append(message)
            self._to_settle()

    def _queue_latest(self, message: bytes) -> None:
        if not self.ended:
            self.drop_unsent()
            if self._loop.untaken.admit(len(message)):
                self._queue(message)

    def _end(self, status: tuple[int, bytes, Metadata]) -> None:
        if not self.ended:
            self._status = status
            self._to_settle()

    @property
    def code(self) -> int:
        """See `base.EndedCall`."""
        return _CANCELLED if self._cancelled or self._status is None else self._status[0]

    def fail(self) -> None:
        self.refuse(*statuses.FAULT)

    def drop_unsent(self) -> None:
        """Forgets what is queued and not begun to be sent."""
        self._loop.untaken.drop(self._out)

    def settle(self) -> None:
        """Sends what can be sent, and reads on; on the answering thread."""
        self._unsettled = False
        self._flush()

    def cut_off(self) -> None:
        """Ends the stream with its status at once, before what its caller does not take."""
        if self._status is not None and not self.over:
            code, details, _ = self._status
            self.core.cancel(code, details.decode())

    @property
    def ended(self) -> bool:
        """Whether nothing more can be said: the status is given, or the caller is gone."""
        return self._status is not None or self.over

    def _to_settle(self) -> None:
        if not self._unsettled:
            self._unsettled = True
            self._loop.unsettled.append(self)

    def _flush(self) -> None:
        """Hands the next message and the status to gRPC as far as it takes them."""
        if self.over or self._status_sent:
            return
        operations: list[Any] = []
        if self._sending is None and self._out:
            operations.append(self._next_message())
        if self._status is not None and not self._out:
            code, details, trailers = self._status
            self._status_sent = True
            operations.append(SendStatusFromServerOperation(trailers or None, code, details, 0))
        if operations:
            self._start(operations, self._sent if self._sending is not None else _nothing)

    def _next_message(self) -> Any:
        message = self._out.popleft()
        self._sending = len(message)
        return SendMessageOperation(message, 0)

    def _start(self, operations: list[Any], tag: Any) -> None:
        if not self._begun:
            self._begun = True
            operations.insert(0, SendInitialMetadataOperation(None, 0))
        self._loop.start(self.core, tuple(operations), tag)

    def _sent(self, _: Any) -> None:
        self._message_sent()
        if self._out:
            # At once: it mostly ends at once too, and a turn for each message costs 15 µs.
            self._flush()
        else:
            self._to_settle()

    def _message_sent(self) -> None:
        if self._sending is not None:
            self._loop.untaken.taken(self._sending)
            self._sending = None

    def _received(self, event: Any) -> None:
        raise NotImplementedError

    def _closed(self, event: Any) -> None:
        self._cancelled = event.batch_operations[0].cancelled()
        self._message_sent()
        self.over = True
        self.drop_unsent()
        self._loop.waiting.forget(self)

    def _tell_closed(self, closed: "Callable[[Any], None] | None") -> None:
        if closed is not None:
            try:
                closed(self)
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self._loop.fault(error)


def _nothing(_: Any) -> None:
    """What follows the end of a batch with a status."""
