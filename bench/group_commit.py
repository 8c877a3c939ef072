"""What committing claims together gains, against the same store committing them one by one.

Every figure is a ratio of medians of interleaved rounds in one run; `again` is the baseline
measured twice, and shows the noise of the run.

    python -m bench.group_commit [--rounds 7] [--claims 512] [--disk DIR]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench.claims import NUMBERS, Call, begins, in_turn, percentile, round_of
from bench.sidecar import ROOT, Sidecar, sidecar
from bench.stores import GROUPED, ONE_BY_ONE, Committing, opened
from liquidation.store.locations import SqliteFile

__all__ = ["CONTESTANTS", "compare_sidecars", "compare_stores", "fairness"]

CONTESTANTS: Final[Mapping[str, Committing]] = {
    "one by one": ONE_BY_ONE,
    "grouped": GROUPED,
    "one by one, again": ONE_BY_ONE,
}


async def compare_stores(directory: Path, rounds: int, claims: int) -> dict[str, Any]:
    """Groups against one by one, on the store itself."""
    async with AsyncExitStack() as stack:
        calls = {}
        for name, how in CONTESTANTS.items():
            file = SqliteFile(directory / f"store, {name}.db")
            calls[name] = begins(await stack.enter_async_context(opened(file, how)))
        return await _compared(calls, rounds, claims)


async def compare_sidecars(directory: Path, rounds: int, claims: int) -> dict[str, Any]:
    """Groups against one by one, over gRPC; and how many claims a sidecar has had in a commit."""
    running: dict[str, Sidecar] = {}
    async with AsyncExitStack() as stack:
        for name, how in CONTESTANTS.items():
            place = directory / f"sidecar, {name}"
            place.mkdir()
            file = SqliteFile(place / "store.db")
            running[name] = await stack.enter_async_context(sidecar(file, how, place))
        calls = {name: each.begin for name, each in running.items()}
        compared = await _compared(calls, rounds, claims)
    commits = {name: each.committed for name, each in running.items()}
    return compared | {
        "writes a commit, all rounds": {
            name: round(each.writes / each.commits, 2) for name, each in commits.items()
        }
    }


async def _compared(calls: Mapping[str, Call], rounds: int, claims: int) -> dict[str, Any]:
    measured = await in_turn(calls, rounds, claims)
    baseline, *others = calls
    return measured.absolute() | measured.ratios((name, baseline) for name in others)


async def fairness(directory: Path, rounds: int, claims: int) -> dict[str, Any]:
    """Two processes that write one file as fast as they can: the p99 of each."""
    path = directory / "shared.db"
    ratios, slower = [], []
    for _ in range(rounds):
        writers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.group_commit"),
                f"--writer={path}",
                f"--claims={claims}",
                f"--first={next(NUMBERS) * 1_000_000}",
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
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
    numbers = count(first)
    async with opened(SqliteFile(path), GROUPED) as store:
        await round_of(begins(store), 64, 16, numbers)
        done = await round_of(begins(store), claims, 16, numbers)
    print(json.dumps({"p99": percentile(done.each, 0.99), "per_second": done.per_second}))


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
            "store": asyncio.run(compare_stores(directory, told.rounds, told.claims)),
            "grpc": asyncio.run(compare_sidecars(directory, told.rounds, told.claims)),
            "two processes on one file": asyncio.run(
                fairness(directory, told.rounds, 4 * told.claims)
            ),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
