"""The least a Python gRPC server can do: any method, bytes in, none out, on grpc.aio and uvloop.

python -m bench.baselines.empty_aio --listen ADDRESS
"""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

import asyncio
import signal

import grpc
import uvloop

from bench.baselines.telling import listen_argument, tell_serving

__all__ = ["main"]


class _Any(grpc.GenericRpcHandler):
    """Answers every method; a handler of its own for each call would cost what is not gRPC's."""

    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            _answer
        )

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._handler


async def _answer(_request: bytes, _context: object) -> bytes:
    return b""


async def serve(address: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Any(),))
    port = server.add_insecure_port(address)
    await server.start()
    tell_serving(address, port)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop(None)


def main() -> None:
    """Serves at the address of `--listen`."""
    uvloop.run(serve(listen_argument()))


if __name__ == "__main__":
    main()
