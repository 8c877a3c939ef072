"""The same as `empty_aio` on grpc's server with a pool of threads.

python -m bench.baselines.empty_threads --listen ADDRESS
"""

import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

import grpc

from bench.baselines.telling import AnyMethod, listen_argument, tell_serving

__all__ = ["main"]

# What `grpc.server` is commonly given in its examples.
THREADS: Final = 10


def _answer(_request: bytes, _context: object) -> bytes:
    return b""


def main() -> None:
    """Serves at the address of `--listen` until SIGTERM or SIGINT."""
    address = listen_argument()
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((AnyMethod(_answer),))
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
