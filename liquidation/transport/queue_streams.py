"""Streams on the queue transport: what they share, exchanges and subscriptions."""

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

from liquidation.transport.base import (
    DRAINING,
    FAULT,
    MOST_MESSAGES,
    MOST_READ_AHEAD_BYTES,
    NO_REQUEST,
    OK,
    Exchange,
    Metadata,
    Subscription,
)
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
        self.refuse(*FAULT)

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


class ExchangeCall(StreamCall):
    """A stream whose messages are answered one by one."""

    __slots__ = ("_busy", "_half_closed", "_handler", "_inbox", "_receiving")

    def __init__(
        self, loop: "Loop", event: Any, waited: int, since: float, handler: Exchange
    ) -> None:
        super().__init__(loop, event, waited, since)
        self._handler = handler
        # Whether messages are with the handler, or on their way there.
        self._busy = False
        self._receiving = False
        self._half_closed = False
        self._inbox: list[bytes] = []

    def begin(self) -> None:
        self.core.start_server_batch((ReceiveCloseOnServerOperation(0),), self._closed)
        self._to_settle()

    def take(self, _: object) -> None:
        if self.ended:
            self._busy = False
            return
        messages, self._inbox = self._inbox[:MOST_MESSAGES], self._inbox[MOST_MESSAGES:]
        self._read_ahead()
        try:
            work = self._handler.handle(self, messages)
        except BaseException as error:  # noqa: BLE001 - one call must not end all others
            self._loop.failed(self, error)
            work = None
        if work is None:
            self.worked()
        else:
            self._loop.works.due.append((self, work))

    def worked(self) -> None:
        self._busy = False
        self._to_settle()

    def settle(self) -> None:
        """Sends what can be sent; when all is with gRPC, goes on to the next messages."""
        super().settle()
        if not (self._busy or self._out or self.ended):
            self._go_on()

    def _go_on(self) -> None:
        if self._inbox:
            self._hand_over()
        elif self._half_closed:
            self.refuse(*OK)
        elif self._loop.draining:
            self.refuse(*DRAINING)
        else:
            # It waits for its caller's next message.
            self.waited = self._loop.waiting.sheds
            self._loop.waiting.idle[self] = None
            self._read_ahead()

    def _hand_over(self) -> None:
        """Gives the handler all messages that arrive in this turn."""
        self._busy = True
        self._loop.ready.append((self, None))

    def _received(self, event: Any) -> None:
        self._receiving = False
        self._loop.waiting.idle.pop(self, None)
        message = event.batch_operations[0].message()
        if message is None:
            self._half_closed = True
            self._to_settle()
            return
        self._inbox.append(message)
        self._read_ahead()
        if self._out:
            # Earlier answers go first: a caller that does not read them is soon not read from.
            self._to_settle()
        elif not (self._busy or self.ended):
            self._hand_over()

    def _read_ahead(self) -> None:
        """Reads the next message before this one is answered; within bounds, and not in a drain."""
        if (
            not (self._receiving or self._half_closed or self.ended or self._loop.draining)
            and len(self._inbox) < MOST_MESSAGES
            and sum(map(len, self._inbox)) < MOST_READ_AHEAD_BYTES
        ):
            self._receiving = True
            self.core.start_server_batch((ReceiveMessageOperation(0),), self._received)

    def _closed(self, event: Any) -> None:
        super()._closed(event)
        self._tell_closed(self._handler.closed)


class SubscriptionCall(StreamCall):
    """A stream that one message of its caller asks for."""

    __slots__ = ("_handled", "_handler")

    is_subscription = True

    def __init__(
        self, loop: "Loop", event: Any, waited: int, since: float, handler: Subscription
    ) -> None:
        super().__init__(loop, event, waited, since)
        self._handler = handler
        self._handled = False

    def take(self, message: bytes) -> None:
        if self.ended:
            return
        self._handled = True
        self._loop.waiting.idle[self] = None
        try:
            self._handler.handle(self, message)
        except BaseException as error:  # noqa: BLE001 - one call must not end all others
            self._loop.failed(self, error)
        if self._loop.draining:
            self._loop.waiting.leave(self, DRAINING)

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        super().refuse(code, message, trailers)
        # Its caller may not read what is sent before the status.
        self._loop.ask(self._leave)

    def _leave(self) -> None:
        if not self.over:
            self._loop.waiting.let_leave(self)

    def _sent(self, event: Any) -> None:
        # Who takes what is sent has not waited for so long.
        self.waited = self._loop.waiting.sheds
        super()._sent(event)

    def _received(self, event: Any) -> None:
        message = event.batch_operations[0].message()
        if not self._loop.waiting.came(self):
            return
        if message is None:
            self.refuse(*NO_REQUEST)
        else:
            self._loop.ready.append((self, message))

    def _closed(self, event: Any) -> None:
        super()._closed(event)
        if self._handled:
            self._tell_closed(self._handler.closed)
