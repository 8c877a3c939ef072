"""The least that a server on grpc.aio can do: any method, bytes in, none out, on uvloop.

python -m bench.baselines.empty_aio --listen HOST:PORT
"""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

import argparse
import asyncio
import json
import signal

import grpc
import uvloop

__all__ = ["main"]


async def _answer(_request: bytes, _context: object) -> bytes:
    return b""


class _AnyMethod(grpc.GenericRpcHandler):
    """One handler for every method: one for each call would cost what is not gRPC's."""

    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            _answer
        )

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._handler


async def serve(address: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_AnyMethod(),))
    port = server.add_insecure_port(address)
    await server.start()
    bound = f"{address.rpartition(':')[0]}:{port}"
    print(json.dumps({"event": "serving", "addresses": [bound]}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop(None)


def main() -> None:
    """Serves at the address of `--listen`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:0")
    uvloop.run(serve(parser.parse_args().listen))


if __name__ == "__main__":
    main()
