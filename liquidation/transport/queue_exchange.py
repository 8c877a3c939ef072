"""Exchanges on the queue transport: streams that are answered message by message."""

from typing import TYPE_CHECKING, Any

from grpc._cython.cygrpc import ReceiveCloseOnServerOperation, ReceiveMessageOperation

from liquidation.transport import statuses
from liquidation.transport.base import (
    MOST_MESSAGES,
    MOST_READ_AHEAD_BYTES,
    Exchange,
)
from liquidation.transport.queue_streams import StreamCall

if TYPE_CHECKING:
    from liquidation.transport.queue_loop import Loop


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
            self.refuse(*statuses.OK)
        elif self._loop.draining:
            self.refuse(*statuses.DRAINING)
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
