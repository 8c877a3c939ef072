"""The transport on grpcio's public server, for where the queue transport cannot be used.

Each call has a thread of its own, and another that reads; handlers run under one lock, so that they
too are on one thread at a time. It is slower, and answers the same.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import grpc

from liquidation.transport.base import Exchange, Handler, OnFault, Options, Subscription
from liquidation.transport.common import (
    DRAINING,
    GOODBYE_S,
    LISTEN_S,
    LOOK_S,
    UNKNOWN_METHOD,
    Untaken,
    wait_until_quiet,
)
from liquidation.transport.threads_call import ThreadCall
from liquidation.transport.threads_kinds import ExchangeCall, SubscriptionCall, UnaryCall

# Calls in progress at most: each has two threads.
_MOST_CALLS: Final = 500
# How often calls are looked through whose time may have come, in seconds.
_TICK_S: Final = 0.05
# How long calls that were cancelled may take until their threads have seen it, in seconds.
_CANCELLED_S: Final = 5.0


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
