"""The transport on gRPC's completion queue: one thread, and no other between gRPC and handlers.

It stands on `grpc._cython.cygrpc`, the private module on which grpcio's own server is written, and
is used after `open_server` has tried it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import grpc

from liquidation.transport.base import (
    GOODBYE_S,
    LOOK_S,
    Handler,
    OnFault,
    Options,
    wait_until_quiet,
)
from liquidation.transport.queue_loop import Loop

# What gRPC gives back instead of a port for an address that it cannot listen on.
_NOT_BOUND: Final = 0
# How long the answering thread may take to do what it is asked, in seconds; only a handler that
# blocks it takes longer.
_ASKED_S: Final = 5.0


class QueueServer:
    """A server whose handlers run on the thread that takes gRPC's events; see `base.Server`."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        options: Options = (),
        on_fault: OnFault = lambda _: None,
        max_untaken_bytes: int = 0,
        max_call_s: float = float("inf"),
    ) -> None:
        """`handlers` are named "/package.Service/Method", `options` are gRPC's channel arguments.

        `on_fault` is told what handlers raise, on the answering thread. `max_untaken_bytes` is how
        much large answers may hold that callers do not take, 0 without bound. `max_call_s` is how
        long a call's one request may take to come, in seconds.
        """
        self._loop = Loop(handlers, options, on_fault, max_untaken_bytes, max_call_s)
        self._thread = threading.Thread(target=self._loop.run, name="answering", daemon=True)

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        core = self._loop.core
        where = address.encode()
        port: int
        if credentials is None:
            port = core.add_http2_port(where)
        else:
            port = core.add_http2_port(where, credentials._credentials)  # type: ignore[attr-defined]  # noqa: SLF001
        if port == _NOT_BOUND:
            raise RuntimeError(f"cannot listen on {address}")
        return port

    def start(self) -> None:
        self._loop.core.start()
        self._thread.start()

    def shed(self) -> int:
        shed: list[int] = []
        self._ask(lambda: shed.append(self._loop.waiting.shed()))
        return sum(shed)

    def drain(self, grace_s: float) -> None:
        """See `base.Server`.

        It waits until no unary call has come for a moment, while those that came get no answer:
        who waits for an answer sends nothing. That is the time to tell connections to end. gRPC
        cancels a call that comes after the server was told to stop and before its client knows.
        """
        end_s = time.monotonic() + grace_s
        self._ask(self._loop.begin_drain)
        wait_until_quiet(lambda: self._loop.unary_arrivals, lambda: self._loop.holding)
        holding = self._loop.holding
        self._ask(self._loop.stop)
        if holding:
            time.sleep(GOODBYE_S)
        self._ask(self._loop.release)
        self._thread.join(max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            self._ask(self._loop.cancel_all)
            self._thread.join(_ASKED_S)

    def _ask(self, what: Callable[[], None]) -> None:
        """Lets the answering thread do something, and returns when it has, or has ended."""
        done = self._loop.ask(what)
        until_s = time.monotonic() + _ASKED_S
        while self._thread.is_alive() and time.monotonic() < until_s:
            if done.wait(LOOK_S):
                return
