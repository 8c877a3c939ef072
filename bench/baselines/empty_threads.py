"""The same as `empty_aio` on grpc's server with a pool of threads.

python -m bench.baselines.empty_threads --listen ADDRESS
"""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

import grpc

from bench.baselines.telling import listen_argument, tell_serving

__all__ = ["main"]

# What `grpc.server` is commonly given in its examples.
THREADS: Final = 10


class _Any(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            _answer
        )

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._handler


def _answer(_request: bytes, _context: object) -> bytes:
    return b""


def main() -> None:
    """Serves at the address of `--listen` until SIGTERM or SIGINT."""
    address = listen_argument()
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((_Any(),))
    port = server.add_insecure_port(address)
    server.start()
    tell_serving(address, port)
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(None).wait()


if __name__ == "__main__":
    main()
