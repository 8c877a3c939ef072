"""Subscriptions on the queue transport: streams that one message of their callers asks for."""

from typing import TYPE_CHECKING, Any

from liquidation.transport import statuses
from liquidation.transport.base import Metadata, Subscription
from liquidation.transport.queue_streams import StreamCall

if TYPE_CHECKING:
    from liquidation.transport.queue_loop import Loop


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
            self._loop.waiting.leave(self, statuses.DRAINING)

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
            self.refuse(*statuses.NO_REQUEST)
        else:
            self._loop.ready.append((self, message))

    def _closed(self, event: Any) -> None:
        super()._closed(event)
        if self._handled:
            self._tell_closed(self._handler.closed)
