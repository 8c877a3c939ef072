"""Every store that the conformance suite is run through; a fresh one for each test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.clocks import Clock
from tests.store.awaited import AwaitedStore, awaited_postgres, awaited_sqlite
from tests.store.moving import set_up
from tests.store.postgres.pgbouncer import PgBouncer
from tests.store.server_clock import ServerClock

OpenStore = Callable[[], AbstractAsyncContextManager[AwaitedStore]]


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under test; the last is PostgreSQL behind a pooler of connections."""
    return str(request.param)


@pytest.fixture
def clock(engine: str, request: pytest.FixtureRequest) -> Iterator[Clock]:
    """The clock that the store under test reads."""
    if engine == "sqlite":
        yield Clock()
        return
    with ServerClock(request.getfixturevalue("postgres_database")) as clock:
        yield clock


@pytest.fixture
def open_store(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> OpenStore:
    """Opens the store under test; opened twice, it is the same data."""

    @asynccontextmanager
    async def sqlite() -> AsyncIterator[AwaitedStore]:
        store = awaited_sqlite(tmp_path / "store.db", clock)
        try:
            yield store
        finally:
            await store.aclose()

    @asynccontextmanager
    async def postgres() -> AsyncIterator[AwaitedStore]:
        dsn: str = request.getfixturevalue("postgres_database")
        if engine == "pgbouncer":
            pooler: PgBouncer = request.getfixturevalue("pooler")
            dsn = pooler.dsn(dsn)
        store = awaited_postgres(dsn)
        try:
            yield store
        finally:
            await store.aclose()

    return sqlite if engine == "sqlite" else postgres


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[AwaitedStore]:
    """The store under test, open and empty."""
    async with open_store() as store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is moved to PostgreSQL."""
    return tmp_path / "store.db"


@pytest.fixture
def target(postgres_database: str) -> str:
    """A database that it is moved to: with the tables, and with nothing in them."""
    return asyncio.run(set_up(postgres_database))
