"""What many liquidations cost: resident memory, and the time of a check on one of them.

Two servers run side by side, one with few liquidations in its store and one with many. The same
calls go to both in interleaved rounds; the figure is the ratio of their medians.

    python -m bench.many_liquidations [--few 100] [--many 100000] [--rounds 40] [--calls 100]
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import grpc

from bench.processes import resident_mib
from bench.scenarios import SCENARIOS, check, liquidation
from bench.servers import Running, running
from liquidation.v1 import liquidation_service_pb2

__all__ = ["main", "measure"]

_BATCH: Final = 1000
_PUT: Final = "/liquidation.v1.LiquidationService/BatchPutLiquidations"


def _fill(channel: Any, count: int) -> None:
    put = channel.unary_unary(_PUT)
    for first in range(1, count + 1, _BATCH):
        puts = [
            liquidation_service_pb2.PutLiquidationRequest(liquidation=liquidation(number))
            for number in range(first, min(first + _BATCH, count + 1))
        ]
        request = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=puts)
        put(request.SerializeToString())


def _check_each(channel: Any, numbers: list[int]) -> float:
    """Seconds that one check on each of these liquidations takes."""
    call = channel.unary_unary(SCENARIOS["accepted"].path)
    requests = [check(number).SerializeToString() for number in numbers]
    begun = time.perf_counter()
    for request in requests:
        call(request)
    return time.perf_counter() - begun


def measure(few: int, many: int, rounds: int, calls: int, directory: Path) -> dict[str, float]:
    """Resident MiB of both servers, and the time of a check among `many` against among `few`."""
    chance = random.Random(1)
    counts = {"few": few, "many": many}
    servers: dict[str, Running] = {}
    times: dict[str, list[float]] = {name: [] for name in counts}
    with ExitStack() as stack:
        channels: dict[str, Any] = {}
        for name, count in counts.items():
            (directory / name).mkdir()
            servers[name] = stack.enter_context(running("ours", directory / name))
            channel = grpc.insecure_channel(servers[name].address)
            channels[name] = stack.enter_context(channel)
            _fill(channel, count)
        for _ in range(rounds):
            for name, count in counts.items():
                numbers = chance.choices(range(1, count + 1), k=calls)
                times[name].append(_check_each(channels[name], numbers))
        resident = {name: resident_mib(server.pid) for name, server in servers.items()}
    medians = {name: statistics.median(each) / calls for name, each in times.items()}
    return {
        **{f"resident MiB, {counts[name]:,}": round(each, 1) for name, each in resident.items()},
        **{f"check µs, {counts[name]:,}": round(each * 1e6) for name, each in medians.items()},
        "check, many / few": round(medians["many"] / medians["few"], 3),
    }


def main() -> None:
    """Measures and prints the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=100)
    with tempfile.TemporaryDirectory() as name:
        figures = measure(**vars(parser.parse_args()), directory=Path(name))
    print(json.dumps(figures, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
