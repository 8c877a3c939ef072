"""Exchanges on the queue transport: streams that are answered message by message."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from grpc._cython.cygrpc import ReceiveCloseOnServerOperation, ReceiveMessageOperation

from liquidation.transport import statuses
from liquidation.transport.base import (
    LARGE_BYTES,
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

    def take(self, message: Sequence[bytes]) -> None:
        if self.ended:
            self._busy = False
            return
        try:
            work = self._handler.handle(self, message)
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

    def waits(self) -> None:
        """Reads ahead while the work waits, so that the next hand-over is many messages."""
        if not self._receiving:
            self._read_ahead()

    def settle(self) -> None:
        """Sends what can be sent; when all is with gRPC, goes on to the next messages."""
        with self._loop.lock:
            self._unsettled = False
            if self._answers_one():
                # The next message is asked for together with the answer to this one.
                operations = [self._next_message(), ReceiveMessageOperation(0)]
                self._wait()
                self._start(operations, self._answered_and_received)
                return
            self._flush()
            if self._busy or self._out or self.ended:
                return
        self._go_on()

    def _answers_one(self) -> bool:
        return (
            len(self._out) == 1
            and self._sending is None
            and not (self._busy or self._receiving or self._half_closed or self._inbox)
            and not (self.ended or self._loop.draining)
            and len(self._out[0]) < LARGE_BYTES
        )

    def _go_on(self) -> None:
        if self._inbox:
            self._busy = True
            messages, self._inbox = self._inbox[:MOST_MESSAGES], self._inbox[MOST_MESSAGES:]
            self._loop.ready.append((self, messages))
        elif self._half_closed:
            self.refuse(*statuses.OK)
        elif self._loop.draining:
            self.refuse(*statuses.DRAINING)
        else:
            receiving = self._receiving
            self._wait()
            if not receiving:
                self.core.start_server_batch((ReceiveMessageOperation(0),), self._received)

    def _wait(self) -> None:
        """The stream waits for its caller's next message."""
        self._receiving = True
        self.waited = self._loop.waiting.sheds
        self._loop.waiting.idle[self] = None

    def _answered_and_received(self, event: Any) -> None:
        self._message_sent()
        self._received(event)

    def _received(self, event: Any) -> None:
        self._receiving = False
        self._loop.waiting.idle.pop(self, None)
        message = event.batch_operations[-1].message()
        if message is None:
            self._half_closed = True
            self._to_settle()
        elif self._busy:
            self._inbox.append(message)
            self._read_ahead()
        elif self._inbox or self._out:
            # It was read ahead, and others are before it, or their answers.
            self._inbox.append(message)
            self._to_settle()
        elif not self.ended:
            self._busy = True
            self._loop.ready.append((self, (message,)))

    def _closed(self, event: Any) -> None:
        super()._closed(event)
        self._tell_closed(self._handler.closed)

    def _read_ahead(self) -> None:
        if (
            not (self._half_closed or self.ended)
            and len(self._inbox) < MOST_MESSAGES
            and sum(map(len, self._inbox)) < MOST_READ_AHEAD_BYTES
        ):
            self._receiving = True
            self.core.start_server_batch((ReceiveMessageOperation(0),), self._received)
