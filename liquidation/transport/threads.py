"""The transport on grpcio's public server, for when the queue transport cannot be used.

Each call has a thread of its own, and another that reads; handlers run under one lock, so that they
too are on one thread at a time. It is slower, and answers the same.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import grpc

from liquidation.transport.base import (
    DRAINING,
    GOODBYE_S,
    LATE_REQUEST,
    LISTEN_S,
    LOOK_S,
    MOST_MESSAGES,
    MOST_READ_AHEAD_BYTES,
    NO_REQUEST,
    OK,
    READ_S,
    SHED_STREAM,
    UNKNOWN_METHOD,
    Exchange,
    Handler,
    Metadata,
    OnFault,
    Options,
    Subscription,
    Untaken,
    Work,
    wait_until_quiet,
)
from liquidation.transport.threads_call import ThreadCall, Turn

# Calls in progress at most: each has two threads.
_MOST_CALLS: Final = 500
# How often calls are looked through whose time may have come, in seconds.
_TICK_S: Final = 0.05
# How long calls that were cancelled may take until their threads have seen it, in seconds.
_CANCELLED_S: Final = 5.0


class _OneRequestCall(ThreadCall):
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


class ThreadsServer(grpc.GenericRpcHandler):
    """A server whose handlers run one at a time, on threads of calls; see `base.Server`."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        options: Options = (),
        on_fault: OnFault = lambda _: None,
        max_untaken_bytes: int = 0,
        max_call_s: float = float("inf"),
    ) -> None:
        """The arguments are those of `queue.QueueServer`."""
        self._handlers = dict(handlers)
        self._on_fault = on_fault
        self.max_call_s = max_call_s
        self.untaken = Untaken(max_untaken_bytes)
        self.turn = Turn()
        self.draining = False
        self.sheds = 0
        self._lock = threading.Lock()
        self._calls: set[ThreadCall] = set()
        self._unary_arrivals = 0
        self._held = 0
        self._let_go = threading.Event()
        self._let_go.set()
        self._stopped = threading.Event()
        self.readers = ThreadPoolExecutor(_MOST_CALLS, "reading")
        self._pool = ThreadPoolExecutor(_MOST_CALLS, "answering")
        self._server = grpc.server(
            self._pool,
            handlers=[self],
            options=tuple(options),
            maximum_concurrent_rpcs=_MOST_CALLS,
        )

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    def start(self) -> None:
        self._server.start()
        threading.Thread(target=self._tick, name="ticking", daemon=True).start()

    def _tick(self) -> None:
        while not self._stopped.wait(_TICK_S):
            now_s = time.monotonic()
            for call in self._in_progress():
                call.tick(now_s)

    def service(self, handler_call_details: Any) -> Any:
        """What grpcio asks for each call: the function that answers it."""
        method: str = handler_call_details.method
        handler = self._handlers.get(method)

        def serve(requests: Any, context: Any) -> Any:
            return self._new_call(method, handler, context).run(requests)

        return grpc.stream_stream_rpc_method_handler(serve)

    def _new_call(self, method: str, handler: Handler | None, context: Any) -> ThreadCall:
        call: ThreadCall
        if isinstance(handler, Exchange):
            call = ExchangeCall(self, context, method, handler)
        elif isinstance(handler, Subscription):
            call = SubscriptionCall(self, context, method, handler)
        else:
            with self._lock:
                self._unary_arrivals += 1
            call = UnaryCall(self, context, method, handler.handle if handler else None)
        if handler is None:
            call.refuse(*UNKNOWN_METHOD)
        return call

    def began(self, call: ThreadCall) -> None:
        """A call is in progress."""
        with self._lock:
            self._calls.add(call)

    def over(self, call: ThreadCall) -> None:
        """A call is over."""
        with self._lock:
            self._calls.discard(call)

    def hold(self) -> None:
        """Returns when a unary answer may go."""
        if not self._let_go.is_set():
            with self._lock:
                self._held += 1
            self._let_go.wait()

    def fault(self, error: BaseException) -> None:
        """Tells of what a handler raised."""
        with suppress(BaseException):
            self._on_fault(error)

    def shed(self) -> int:
        before, self.sheds = self.sheds, self.sheds + 1
        waited = [each for each in self._in_progress() if each.waits_since(before)]
        for call in waited:
            call.drop_unsent()
            call.leave(call.shed_status, LISTEN_S)
        return len(waited)

    def _in_progress(self) -> list[ThreadCall]:
        with self._lock:
            return list(self._calls)

    def drain(self, grace_s: float) -> None:
        """See `base.Server`, and `queue.QueueServer.drain` for why it holds answers back."""
        end_s = time.monotonic() + grace_s
        self._let_go.clear()
        self.draining = True
        for call in self._in_progress():
            if isinstance(call, SubscriptionCall):
                call.leave(DRAINING, LISTEN_S)
            else:
                call.look()
        wait_until_quiet(lambda: self._unary_arrivals, lambda: self._held)
        held = self._held
        stopped = self._server.stop(max(0.0, end_s - time.monotonic()))
        if held:
            time.sleep(GOODBYE_S)
        self._let_go.set()
        end_s = max(end_s, time.monotonic()) + _CANCELLED_S
        stopped.wait(end_s - time.monotonic())
        # What handlers still have to do with calls that are over is done too.
        while self._in_progress() and time.monotonic() < end_s:
            time.sleep(LOOK_S)
        self._stopped.set()
        self._pool.shutdown(wait=False)
        self.readers.shutdown(wait=False)
