"""What claims cost on PostgreSQL: in groups, against one commit a claim there, and against SQLite.

Starts servers of its own that sync every commit to the disk: one that stands alone, and a primary
with a synchronous standby. Each contestant has tables of its own. `baseline again` is the
baseline measured twice, and shows the noise of the run.

    python -m bench.shared_store [--rounds 7] [--claims 512] [--disk DIR]
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from bench.claims import IN_FLIGHT, NUMBERS, Call, begins, in_turn, round_of
from bench.sidecar import Sidecar, sidecar
from bench.stores import GROUPED, ONE_AT_A_TIME, ONE_BY_ONE, Committing, counted, keep, opened
from liquidation.store.locations import PostgresDatabase, SqliteFile, StoreLocation
from tests.postgres.replication import replicated
from tests.postgres.server import postgres

__all__ = [
    "CONTESTANTS",
    "MANY_KEPT",
    "THREE_SIDECARS",
    "WITH_STANDBY",
    "Contestant",
    "Places",
    "checks",
    "claims",
    "commits",
    "trips",
]

# PostgreSQL's own default; the tests' is small.
SETTINGS: Final = {"shared_buffers": "128MB"}
# Stored liquidations that checks are about.
STORED: Final = 1000


@dataclass(frozen=True)
class Contestant:
    """Where claims are kept, how they are committed, and by how many sidecars at once.

    `kept` is how many have ended there before.
    """

    engine: str
    how: Committing = GROUPED
    sidecars: int = 1
    kept: int = 0


CONTESTANTS: Final[Mapping[str, Contestant]] = {
    "one by one": Contestant("postgres", ONE_BY_ONE),
    "one at a time": Contestant("postgres", ONE_AT_A_TIME),
    "grouped": Contestant("postgres"),
    "SQLite": Contestant("sqlite"),
    "baseline again": Contestant("postgres", ONE_BY_ONE),
}
WITH_STANDBY: Final[Mapping[str, Contestant]] = {
    "one by one, standby": Contestant("pair", ONE_BY_ONE),
    "grouped, standby": Contestant("pair"),
}
THREE_SIDECARS: Final[Mapping[str, Contestant]] = {
    "three sidecars": Contestant("postgres", sidecars=3)
}
MANY_KEPT: Final[Mapping[str, Contestant]] = {"100,000 kept": Contestant("postgres", kept=100_000)}
# What is put against what.
PAIRS: Final = (
    ("grouped", "one by one"),
    ("grouped", "one at a time"),
    ("one at a time", "one by one"),
    ("baseline again", "one by one"),
    ("grouped", "SQLite"),
    ("grouped, standby", "one by one, standby"),
    ("grouped, standby", "grouped"),
    ("100,000 kept", "grouped"),
    ("three sidecars", "grouped"),
    ("three sidecars", "one by one"),
)


@dataclass(frozen=True)
class Places:
    """Where claims are kept: in a directory, and in databases, by the name of the engine."""

    directory: Path
    databases: Mapping[str, str]

    def new(self, engine: str) -> StoreLocation:
        """An empty place: a file, or a schema of its own in the database at that URL."""
        name = f"bench_{next(NUMBERS)}"
        if engine == "sqlite":
            return SqliteFile(self.directory / f"{name}.db")
        url = self.databases[engine]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return PostgresDatabase(f"{url}?options=-csearch_path%3D{name}")


async def claims(
    places: Places, contestants: Mapping[str, Contestant], rounds: int, calls: int, *, grpc: bool
) -> dict[str, Any]:
    """The figures of claims, on the store itself or over gRPC."""
    pairs = [pair for pair in PAIRS if contestants.keys() >= set(pair)]
    async with AsyncExitStack() as stack:
        begin = {
            name: await stack.enter_async_context(
                _beginning(places, places.new(each.engine), each, grpc=grpc)
            )
            for name, each in contestants.items()
        }
        return await _compared(begin, rounds, calls, pairs)


async def checks(places: Places, rounds: int, calls: int) -> dict[str, Any]:
    """The figures of CheckClaim on a stored liquidation, over gRPC."""
    engines = {"SQLite": "sqlite", "PostgreSQL": "postgres", "SQLite again": "sqlite"}
    stored = range(1, STORED + 1)
    async with AsyncExitStack() as stack:
        check = {}
        for name, engine in engines.items():
            running = await stack.enter_async_context(_sidecar(places, places.new(engine), GROUPED))
            await running.put(stored)
            check[name] = running.check
        pairs = [("PostgreSQL", "SQLite"), ("SQLite again", "SQLite")]
        return await _compared(check, rounds, calls, pairs, cycle(stored))


async def trips(places: Places, how: Committing, calls: int, in_flight: int) -> dict[str, float]:
    """Round trips to PostgreSQL for claims on the store itself, counted."""
    async with opened(places.new("postgres"), how) as store:
        # Connections are made meanwhile, each by a trip of its own.
        await round_of(begins(store), calls, IN_FLIGHT)
        with counted() as trips:
            await round_of(begins(store), calls, in_flight)
    return {
        "round trips a claim": round(trips.made / calls, 3),
        "round trips at once, at most": trips.most_at_once,
    }


async def commits(
    places: Places, contestant: Contestant, calls: int, in_flight: int, *, grpc: bool
) -> dict[str, float]:
    """Claims that PostgreSQL got in a commit, counted by the transactions that inserted them."""
    database = places.new(contestant.engine)
    assert isinstance(database, PostgresDatabase)
    async with _beginning(places, database, contestant, grpc=grpc) as begin:
        await round_of(begin, calls, in_flight)
    with psycopg.connect(database.url) as connection:
        counted = connection.execute("SELECT count(*), count(DISTINCT xmin::text) FROM claim")
        stored, transactions = counted.fetchone() or (0, 0)
    assert stored == calls, "not every claim is there"
    return {"claims a commit": round(stored / transactions, 2)}


async def _compared(
    calls: Mapping[str, Call],
    rounds: int,
    count: int,
    pairs: Iterable[tuple[str, str]],
    numbers: "cycle[int] | None" = None,
) -> dict[str, Any]:
    measured = await in_turn(calls, rounds, count, numbers or NUMBERS)
    return measured.absolute() | measured.ratios(pairs)


@asynccontextmanager
async def _beginning(
    places: Places, location: StoreLocation, contestant: Contestant, *, grpc: bool
) -> AsyncIterator[Call]:
    """Begins claims; over gRPC each on the next of the sidecars that share the database."""
    async with AsyncExitStack() as stack:
        if not grpc:
            begin = begins(await stack.enter_async_context(opened(location, contestant.how)))
            if contestant.kept and isinstance(location, PostgresDatabase):
                await begin(next(NUMBERS))
                await asyncio.to_thread(keep, location.url, contestant.kept)
            yield begin
            return
        running = [
            await stack.enter_async_context(_sidecar(places, location, contestant.how))
            for _ in range(contestant.sidecars)
        ]

        async def begin_on_next(number: int) -> None:
            await running[number % len(running)].begin(number)

        yield begin_on_next


@asynccontextmanager
async def _sidecar(
    places: Places, location: StoreLocation, how: Committing
) -> AsyncIterator[Sidecar]:
    directory = Path(tempfile.mkdtemp(dir=places.directory))
    async with sidecar(location, how, directory) as running:
        yield running


async def measure(places: Places, rounds: int, calls: int) -> dict[str, Any]:
    """All figures, with `calls` claims a round."""
    contestants = {**CONTESTANTS, **WITH_STANDBY}
    grouped, one_by_one = CONTESTANTS["grouped"], CONTESTANTS["one by one"]
    three = THREE_SIDECARS["three sidecars"]
    flights = (1, IN_FLIGHT)
    return {
        "store": await claims(places, {**contestants, **MANY_KEPT}, rounds, calls, grpc=False),
        "grpc": await claims(places, {**contestants, **THREE_SIDECARS}, rounds, calls, grpc=True),
        "CheckClaim": await checks(places, rounds, calls),
        "round trips": {
            f"{name}, {flight} in flight": await trips(places, how, calls, flight)
            for name, how in (("grouped", GROUPED), ("one by one", ONE_BY_ONE))
            for flight in flights
        },
        f"commits at {IN_FLIGHT} in flight": {
            "grouped": await commits(places, grouped, calls, IN_FLIGHT, grpc=False),
            "one by one": await commits(places, one_by_one, calls, IN_FLIGHT, grpc=False),
            "grouped, grpc": await commits(places, grouped, calls, IN_FLIGHT, grpc=True),
            "three sidecars": await commits(places, three, calls, IN_FLIGHT, grpc=True),
        },
    }


def main() -> None:
    """Measures and prints the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--claims", type=int, default=512)
    parser.add_argument("--disk", type=Path, help="where the databases are kept while it runs")
    told = parser.parse_args()
    if told.disk is not None:
        # The servers ask `tempfile` for a place too.
        tempfile.tempdir = str(told.disk)
    with (
        tempfile.TemporaryDirectory() as name,
        postgres(SETTINGS, durable=True) as server,
        replicated(SETTINGS) as pair,
    ):
        places = Places(Path(name), {"postgres": server.dsn(), "pair": pair.primary.dsn()})
        figures = asyncio.run(measure(places, told.rounds, told.claims))
        figures["PostgreSQL"] = server.version
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
