"""The load client of `bench/native` in Python, for machines on which that cannot be built.

python -m bench.load ADDRESS METHOD FRAMES --channels C --in-flight N --calls K [--stream WINDOW]

It costs more CPU than the server it loads: what it measures is a lower bound of the server's rate.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import grpc
import uvloop

__all__ = ["main"]


def _frames(path: Path) -> Iterator[bytes]:
    told, at = path.read_bytes(), 0
    while at < len(told):
        size = int.from_bytes(told[at + 1 : at + 5], "big")
        yield told[at + 5 : at + 5 + size]
        at += 5 + size


class _Client:
    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self.times: list[float] = []
        self.codes: Counter[str] = Counter()

    async def call(self, method: Any) -> None:
        """Calls one after the other while requests are left."""
        for request in self._requests:
            begun = time.perf_counter()
            try:
                await method(request)
                code = 0
            except grpc.aio.AioRpcError as error:
                code = error.code().value[0]
            self._note(begun, code)

    async def stream(self, method: Any, window: int) -> None:
        """Sends items on one stream, with so many not answered yet."""
        call, free = method(), asyncio.Semaphore(window)
        sent: list[float] = []

        async def write() -> None:
            for request in self._requests:
                await free.acquire()
                sent.append(time.perf_counter())
                await call.write(request)
            await call.done_writing()

        writing = asyncio.create_task(write())
        answered = 0
        async for _ in call:
            self._note(sent[answered], 0)
            answered += 1
            free.release()
        await writing

    def _note(self, begun: float, code: int) -> None:
        self.times.append(time.perf_counter() - begun)
        self.codes[str(code)] += 1


async def _run(told: argparse.Namespace) -> None:
    frames = list(_frames(told.frames))
    client = _Client(islice(cycle(frames), told.calls))
    # Channels that differ in nothing would share a connection.
    channels = [
        grpc.aio.insecure_channel(
            told.address, [("grpc.use_local_subchannel_pool", 1), ("bench.channel", number)]
        )
        for number in range(told.channels)
    ]
    for channel in channels:
        await channel.channel_ready()
    begun = time.perf_counter()
    if told.stream:
        streams: list[Any] = [channel.stream_stream(told.method) for channel in channels]
        await asyncio.gather(*(client.stream(each, told.stream) for each in streams))
    else:
        calls: list[Any] = [channel.unary_unary(told.method) for channel in channels]
        callers = (client.call(calls[each % len(calls)]) for each in range(told.in_flight))
        await asyncio.gather(*callers)
    seconds = time.perf_counter() - begun
    times = sorted(client.times)
    figures = {
        "calls": len(times),
        "per_second": len(times) / seconds,
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[min(len(times) * 99 // 100, len(times) - 1)] * 1e6,
        "codes": client.codes,
    }
    print(json.dumps(figures))
    for channel in channels:
        await channel.close()


def main() -> None:
    """Makes the calls and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("method")
    parser.add_argument("frames", type=Path)
    for name in ("channels", "in-flight", "calls"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--stream", type=int, default=0)
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
