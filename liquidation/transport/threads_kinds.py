"""Unary calls, exchanges and subscriptions on the threads transport."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from liquidation.transport.base import (
    MOST_MESSAGES,
    MOST_READ_AHEAD_BYTES,
    Exchange,
    Metadata,
    Subscription,
    Work,
)
from liquidation.transport.common import DRAINING, LATE_REQUEST, NO_REQUEST, OK, READ_S, SHED_STREAM
from liquidation.transport.threads_call import ThreadCall

if TYPE_CHECKING:
    from liquidation.transport.threads import ThreadsServer


class _OneRequestCall(ThreadCall):
    """A call whose caller sends one message."""

    def __init__(
        self,
        server: "ThreadsServer",
        context: Any,
        method: str,
        handle: Callable[[Any, bytes], Work] | None,
    ) -> None:
        super().__init__(server, context, method)
        self._handler = handle
        self._handed_over = False

    def tick(self, now_s: float) -> None:
        with self._changed:
            late = now_s - self._since >= self._server.max_call_s
            if late and not (self._handed_over or self._inbox):
                self._end(*LATE_REQUEST, ())
        super().tick(now_s)

    def _has_room(self) -> bool:
        return not self._inbox and not self._handed_over

    def _hand_over_if_due(self) -> Callable[[], bool] | None:
        if self._handed_over:
            return None
        if self._inbox:
            self._handed_over = True
            return self._hand_over
        if self._half_closed:
            self._end(*NO_REQUEST, ())
        return None

    def _hand_over(self) -> bool:
        handle = self._handler
        assert handle is not None, "the call of an unknown method has a status"
        return self._handle(lambda: handle(self, self._inbox.popleft()))


class UnaryCall(_OneRequestCall):
    """A call with one message and one answer."""

    _trailers: Metadata = ()

    def set_trailers(self, trailers: Metadata) -> None:
        self._trailers = trailers

    def reply(self, message: bytes) -> bool:
        with self._changed:
            if self._status is None and not self._over:
                if not self._server.untaken.admit(len(message)):
                    return False
                self._out.append(message)
                self._status = (0, "", self._trailers)
                self._changed.notify_all()
        return True

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        with self._changed:
            if self._status is None and not self._over:
                # Envoy turns the details into JSON only if headers came before the trailers.
                self._out.append(b"")
                super().refuse(code, message, trailers)

    def send(self, message: bytes) -> bool:
        raise TypeError(f"{self.method} is no stream: {len(message)} bytes are not sent")

    def _next_message(self) -> bytes:
        self._server.hold()
        return super()._next_message()

    def _tell_status(self) -> None:
        if self._status is not None and self._status[0]:
            self._server.hold()
        super()._tell_status()

    def _waits(self) -> bool:
        return not self._handed_over and super()._waits()


class ExchangeCall(ThreadCall):
    """A stream whose messages are answered one by one."""

    shed_status = SHED_STREAM

    def __init__(
        self,
        server: "ThreadsServer",
        context: Any,
        method: str,
        handler: Exchange,
    ) -> None:
        super().__init__(server, context, method)
        self._handler = handler

    def _has_room(self) -> bool:
        with self._changed:
            while (
                len(self._inbox) >= MOST_MESSAGES
                or sum(map(len, self._inbox)) >= MOST_READ_AHEAD_BYTES
                or self._server.draining
            ):
                if self._status is not None or self._over:
                    return False
                self._changed.wait()
        return True

    def _hand_over_if_due(self) -> Callable[[], bool] | None:
        if self._inbox:
            return self._hand_over
        if self._half_closed:
            self._end(*OK, ())
        elif self._server.draining:
            self._end(*DRAINING, ())
        return None

    def _hand_over(self) -> bool:
        with self._changed:
            messages = tuple(self._inbox)[:MOST_MESSAGES]
            for _ in messages:
                self._inbox.popleft()
            self._waited = self._server.sheds
            self._changed.notify_all()
        return self._handle(lambda: self._handler.handle(self, messages))

    def _end_work(self) -> None:
        super()._end_work()
        if self._handler.closed is not None:
            self._tell_closed(self._handler.closed)


class SubscriptionCall(_OneRequestCall):
    """A stream that one message of its caller asks for."""

    shed_status = SHED_STREAM

    def __init__(
        self, server: "ThreadsServer", context: Any, method: str, handler: Subscription
    ) -> None:
        super().__init__(server, context, method, handler.handle)
        self._closed = handler.closed

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        super().refuse(code, message, trailers)
        # Its caller may not read what is sent before the status.
        self._leave_by_s = min(self._leave_by_s, time.monotonic() + READ_S)

    def _end_work(self) -> None:
        super()._end_work()
        if self._handed_over:
            self._tell_closed(self._closed)
