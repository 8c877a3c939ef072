"""A store that commits as a benchmark asks for, and what it commits."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

import psycopg

from liquidation.store.base import TIMEOUT_S, CommitObserver, Store
from liquidation.store.locations import SqliteFile, StoreLocation
from liquidation.store.postgres import store
from liquidation.store.postgres.transaction import Transaction
from liquidation.store.sqlite import group_commit
from liquidation.store.sqlite.clock import HostClock
from liquidation.store.sqlite.store import SqliteStore

__all__ = [
    "GROUPED",
    "ONE_AT_A_TIME",
    "ONE_BY_ONE",
    "Committing",
    "Trips",
    "counted",
    "keep",
    "opened",
]

# As many as the service opens by default.
CONNECTIONS: Final = 8


@dataclass(frozen=True)
class Committing:
    """How many writes share a commit at most, and how many commits of a kind go on at once.

    0 is what the store does by itself. SQLite has one writer, whatever is asked for.
    """

    group: int = 0
    lanes: int = 0


GROUPED: Final = Committing()
ONE_BY_ONE: Final = Committing(group=1, lanes=CONNECTIONS)
ONE_AT_A_TIME: Final = Committing(group=1, lanes=1)


async def open_store(
    location: StoreLocation,
    how: Committing,
    *,
    timeout_s: float = TIMEOUT_S,
    connections: int = CONNECTIONS,
    committed: CommitObserver = lambda *_: None,
) -> Store:
    """The store at `location`, which commits in that way."""
    if isinstance(location, SqliteFile):
        group = how.group or group_commit.MAX_GROUP
        return SqliteStore(
            location.path, HostClock(), group=group, committed=committed, timeout_s=timeout_s
        )
    with _lanes(how.lanes):
        return await store.PostgresStore.open(
            location.url,
            timeout_s=timeout_s,
            connections=connections,
            group=how.group or store.MAX_GROUP,
            committed=committed,
        )


@contextmanager
def _lanes(lanes: int) -> Iterator[None]:
    """PostgreSQL stores that are made in the block have so many lanes."""
    if not lanes:
        yield
        return
    with mock.patch.object(store, "_LANES", lanes):
        yield


@asynccontextmanager
async def opened(location: StoreLocation, how: Committing) -> AsyncIterator[Store]:
    """The store of `open_store`, closed after the block."""
    store = await open_store(location, how)
    try:
        yield store
    finally:
        await store.aclose()


# Each takes the one row that is there for a pattern.
_KEEP: Final = (
    "INSERT INTO account SELECT 'kept-' || i FROM generate_series(1, %(rows)s) AS i",
    """
    INSERT INTO liquidation
    SELECT -i, 'kept-' || i, revision, snapshot, open_time, open_time
    FROM liquidation, generate_series(1, %(rows)s) AS i
    """,
    """
    INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms, positions,
                       decision, state, begin_time, expire_time, end_time)
    SELECT 'kept-' || i, 'kept-' || i, 'kept-' || i, -i, revision, terms, positions,
           decision, 'COMPLETED', begin_time, expire_time, begin_time
    FROM claim, generate_series(1, %(rows)s) AS i
    """,
    "VACUUM ANALYZE account, liquidation, claim",
)


def keep(url: str, rows: int) -> None:
    """Adds claims that have ended to a PostgreSQL store that holds one, each on its own account."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _KEEP:
            connection.execute(statement, {"rows": rows} if "%" in statement else None)


@dataclass
class Trips:
    """Round trips to a PostgreSQL server, and how many of them were under way at once."""

    made: int = 0
    most_at_once: int = 0
    _under_way: int = 0

    def begin(self) -> None:
        self.made += 1
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)

    def end(self) -> None:
        self._under_way -= 1


@contextmanager
def counted() -> Iterator[Trips]:
    """Counts the round trips of every transaction of this process; `Transaction.ask` is one."""
    trips, ask = Trips(), Transaction.ask

    async def counting(self: Transaction, *statements: Any, commit: bool = False) -> Any:
        trips.begin()
        try:
            return await ask(self, *statements, commit=commit)
        finally:
            trips.end()

    with mock.patch.object(Transaction, "ask", counting):
        yield trips
