"""The least a Python gRPC server can do: any method, bytes in, none out, on grpc.aio and uvloop.

python -m bench.baselines.empty_aio --listen ADDRESS
"""

import asyncio
import signal

import grpc
import uvloop

from bench.baselines.telling import AnyMethod, listen_argument, tell_serving

__all__ = ["main"]


async def _answer(_request: bytes, _context: object) -> bytes:
    return b""


async def serve(address: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((AnyMethod(_answer),))
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
