"""What committing claims together gains, against the same store committing them one by one.

Every figure is a ratio of medians of interleaved rounds in one run; `baseline again` is the
baseline measured twice, and shows the noise of the run.

    python bench/group_commit.py [--rounds 7] [--claims 256] [--disk DIR]
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from liquidation.core.model import Liquidation, Position, Standing, Terms, Tier, Verdict
from liquidation.store.base import BeginRequest
from liquidation.store.clock import HostClock
from liquidation.store.sqlite import SqliteStore
from liquidation.v1 import claim_service_pb2, liquidation_pb2

ROOT = Path(__file__).parent.parent
BEGIN = "/liquidation.v1.ClaimService/BeginClaim"
IN_FLIGHT = 64

_numbers = count(1)


@dataclass(frozen=True)
class Round:
    """One round of claims: how many a second, and how long each took (seconds)."""

    per_second: float
    each: list[float]


async def round_of(begin: Callable[[int], Awaitable[None]], claims: int, in_flight: int) -> Round:
    """Begins `claims` claims, each on an account of its own, `in_flight` at a time."""
    times: list[float] = []
    left = iter([next(_numbers) for _ in range(claims)])

    async def caller() -> None:
        for number in left:
            begun = time.perf_counter()
            await begin(number)
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return Round(claims / (time.perf_counter() - begun), times)


def _accept(standing: Standing) -> Verdict:
    assert standing.liquidation is not None
    return Verdict(None, "bench", liquidation_revision=standing.liquidation.revision)


def _snapshot(number: int) -> Liquidation:
    return Liquidation(
        liquidation_id=number,
        account_id=f"account-{number}",
        tier=Tier.LOW,
        positions=(Position("PERP_BTC_USDC", Decimal("1.25"), Decimal("43210.5")),),
        margin_ratio=Decimal("0.01"),
        maintenance_margin_ratio=Decimal("0.012"),
        revision=1,
    )


@asynccontextmanager
async def store_level(
    directory: Path, group: int
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Begins claims on a store, at most `group` of them in a commit."""
    store = SqliteStore(directory / f"group-{group}-{next(_numbers)}.db", HostClock(), group)

    async def begin(number: int) -> None:
        terms = Terms(number, "liquidator-1", Decimal(1), Decimal(0))
        name = f"claim-{number}"
        request = BeginRequest(name, name, name, terms, _snapshot(number), 30_000_000)
        begun = await store.begin(request, _accept)
        assert begun.claim is not None

    try:
        yield begin
    finally:
        await store.aclose()


def _message(number: int) -> bytes:
    liquidation = liquidation_pb2.Liquidation(
        liquidation_id=number,
        account_id=f"account-{number}",
        tier=liquidation_pb2.TIER_LOW,
        positions=[
            liquidation_pb2.Position(
                symbol="PERP_BTC_USDC", position_qty="1.25", mark_price="43210.5"
            )
        ],
        margin_ratio="0.01",
        maintenance_margin_ratio="0.012",
        revision=1,
    )
    terms = liquidation_pb2.ClaimTerms(
        liquidation_id=number, liquidator_id="liquidator-1", ratio_qty_request="1"
    )
    return claim_service_pb2.BeginClaimRequest(
        request_id=f"claim-{number}", terms=terms, liquidation=liquidation
    ).SerializeToString()


SERVER = """
import sys
from liquidation.store import group_commit, sqlite
group = int(sys.argv.pop(1))
sqlite.SqliteStore.__init__.__defaults__ = (group,)
from liquidation.cli import main
main(["serve", *sys.argv[1:]])
"""


@asynccontextmanager
async def grpc_level(
    directory: Path, group: int, workers: int = 1
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Begins claims over gRPC, each caller on one of eight connections."""
    name = f"grpc-{group}-{next(_numbers)}"
    popen = await asyncio.to_thread(
        subprocess.Popen,
        [
            sys.executable,
            "-c",
            SERVER,
            str(group),
            "--listen=127.0.0.1:0",
            f"--store=sqlite:{directory / name}.db",
            f"--log-file={directory / name}.log",
            f"--workers={workers}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert popen.stdout is not None
    address = json.loads(await asyncio.to_thread(popen.stdout.readline))["addresses"][0]
    async with AsyncExitStack() as stack:
        stack.callback(popen.communicate)
        stack.callback(popen.terminate)
        calls: list[Any] = []
        for number in range(8):
            options = [("grpc.use_local_subchannel_pool", 1), ("bench.channel", number)]
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(address, options=options)
            )
            calls.append(channel.unary_unary(BEGIN))

        async def begin(number: int) -> None:
            await calls[number % 8](_message(number))

        yield begin


Level = Callable[[Path, int], Any]


async def compare(level: Level, directory: Path, rounds: int, claims: int) -> dict[str, Any]:
    """Groups against one by one, at 1 and at 64 in flight."""
    measured: dict[str, list[Round]] = {}
    async with (
        level(directory, 1) as single,
        level(directory, 256) as grouped,
        level(directory, 1) as again,
    ):
        for _ in range(rounds):
            for in_flight in (1, IN_FLIGHT):
                taken = claims if in_flight > 1 else max(claims // 8, 8)
                for name, begin in (("one", single), ("group", grouped), ("again", again)):
                    done = await round_of(begin, taken, in_flight)
                    measured.setdefault(f"{name}@{in_flight}", []).append(done)
    return _figures(measured)


def _figures(measured: dict[str, list[Round]]) -> dict[str, Any]:
    rate = {
        name: statistics.median(each.per_second for each in rounds)
        for name, rounds in measured.items()
    }
    p50 = {
        name: statistics.median(statistics.median(each.each) for each in rounds)
        for name, rounds in measured.items()
    }
    p99 = {
        name: statistics.median(_p99(each.each) for each in rounds)
        for name, rounds in measured.items()
    }
    return {
        "claims_per_second": {name: round(each) for name, each in rate.items()},
        "p50_ms": {name: round(each * 1000, 2) for name, each in p50.items()},
        "p99_ms": {name: round(each * 1000, 2) for name, each in p99.items()},
        f"rate at {IN_FLIGHT}, group / one by one": round(
            rate[f"group@{IN_FLIGHT}"] / rate[f"one@{IN_FLIGHT}"], 2
        ),
        "p50 at 1, group / one by one": round(p50["group@1"] / p50["one@1"], 3),
        "p50 at 1, baseline again": round(p50["again@1"] / p50["one@1"], 3),
        f"rate at {IN_FLIGHT}, baseline again": round(
            rate[f"again@{IN_FLIGHT}"] / rate[f"one@{IN_FLIGHT}"], 3
        ),
    }


def _p99(times: list[float]) -> float:
    return sorted(times)[min(int(len(times) * 0.99), len(times) - 1)]


async def fairness(directory: Path, rounds: int, claims: int) -> dict[str, Any]:
    """Two processes that write one file as fast as they can: the p99 of each."""
    path = directory / "shared.db"
    ratios, slower = [], []
    for _ in range(rounds):
        writers = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__)),
                f"--writer={path}",
                f"--claims={claims}",
                f"--first={next(_numbers) * 1_000_000}",
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        told = [json.loads((await writer.communicate())[0]) for writer in writers]
        p99 = sorted(each["p99"] for each in told)
        ratios.append(p99[1] / p99[0])
        slower.append(p99[1])
    return {
        "p99 of the slower / of the faster": round(statistics.median(ratios), 2),
        "p99_ms of the slower": round(statistics.median(slower) * 1000, 2),
        "worst of all rounds": round(max(ratios), 2),
    }


async def write(path: Path, first: int, claims: int) -> None:
    """One of the two writers: begins claims 16 at a time and tells their p99."""
    global _numbers  # noqa: PLW0603 - the writers must not claim the same accounts
    _numbers = count(first)
    store = SqliteStore(path, HostClock())

    async def begin(number: int) -> None:
        terms = Terms(number, "liquidator-1", Decimal(1), Decimal(0))
        name = f"claim-{number}"
        request = BeginRequest(name, name, name, terms, _snapshot(number), 30_000_000)
        await store.begin(request, _accept)

    await round_of(begin, 64, 16)
    done = await round_of(begin, claims, 16)
    await store.aclose()
    print(json.dumps({"p99": _p99(done.each), "per_second": done.per_second}))


def main() -> None:
    """Measures and prints the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--claims", type=int, default=512)
    parser.add_argument("--disk", type=Path, help="where the databases are kept while it runs")
    parser.add_argument("--writer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=1, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.writer is not None:
        asyncio.run(write(told.writer, told.first, told.claims))
        return
    with tempfile.TemporaryDirectory(dir=told.disk) as name:
        directory = Path(name)
        figures = {
            "store": asyncio.run(compare(store_level, directory, told.rounds, told.claims)),
            "grpc": asyncio.run(compare(grpc_level, directory, told.rounds, told.claims)),
            "two processes on one file": asyncio.run(
                fairness(directory, told.rounds, 4 * told.claims)
            ),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
