"""Every engine that the conformance suite runs on, and the databases of the session.

A database is made once in a session and emptied for each test; so is a store that is opened on it.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.clocks import Clock
from tests.store.builders import of_account
from tests.store.postgres.databases import Databases
from tests.store.postgres.pgbouncer import PgBouncer
from tests.store.stores import AwaitedStore, ServerClock, postgres_store, set_up, sqlite_store

# Opens the store under test; opened twice, it is the same data.
OpenStore = Callable[[], AwaitedStore]

_EMPTY = """
    SET lock_timeout = '20s';
    DELETE FROM claim; DELETE FROM liquidation; DELETE FROM account;
    DROP SCHEMA IF EXISTS testing CASCADE
"""


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under test; the last is PostgreSQL behind a connection pooler."""
    return str(request.param)


@pytest.fixture(scope="session")
def server_clock(postgres_databases: Databases) -> Iterator[ServerClock]:
    """The clock of the database that the conformance suite runs on."""
    with postgres_databases.lend() as dsn:
        asyncio.run(set_up(dsn))
        with ServerClock(dsn) as clock:
            yield clock


@pytest.fixture
def clock(engine: str, request: pytest.FixtureRequest) -> Clock:
    """The clock that the store under test reads."""
    if engine == "sqlite":
        return Clock()
    clock: ServerClock = request.getfixturevalue("server_clock")
    clock.connection.execute(_EMPTY)
    clock.reset()
    return clock


@pytest.fixture
def location(engine: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> str:
    """Where the store under test is, as `--store` has it."""
    if not isinstance(clock, ServerClock):
        return f"sqlite:{tmp_path / 'store.db'}"
    if engine == "pgbouncer":
        pooler: PgBouncer = request.getfixturevalue("pooler")
        return pooler.dsn(clock.dsn)
    return clock.dsn


@pytest.fixture
def open_store(location: str, clock: Clock) -> OpenStore:
    """Opens the store under test; opened twice, it is the same data."""
    if location.startswith("sqlite:"):
        return lambda: sqlite_store(Path(location.removeprefix("sqlite:")), clock)
    return lambda: postgres_store(location)


@pytest.fixture
def store(
    open_store: OpenStore, location: str, request: pytest.FixtureRequest
) -> Iterator[AwaitedStore]:
    """The store under test, open and empty."""
    if location.startswith("sqlite:"):
        store = open_store()
        yield store
        store.store.close()
    else:
        open_stores: dict[str, AwaitedStore] = request.getfixturevalue("open_stores")
        if location not in open_stores:
            open_stores[location] = open_store()
        yield open_stores[location]


@pytest.fixture(scope="session")
def shared_database(postgres_databases: Databases) -> Iterator[str]:
    """The database that `database` empties."""
    with postgres_databases.lend() as dsn:
        yield asyncio.run(set_up(dsn))


@pytest.fixture(scope="session")
def open_stores(
    server_clock: ServerClock, shared_database: str
) -> Iterator[dict[str, AwaitedStore]]:
    """Stores on the databases of the session, which stay open until it ends."""
    stores = {dsn: postgres_store(dsn) for dsn in (server_clock.dsn, shared_database)}
    yield stores
    for each in stores.values():
        each.store.close()


@pytest.fixture
def database(shared_database: str) -> Iterator[str]:
    """The URL of a database with empty tables.

    What a test adds to it is in the schema `testing`. A test that changes the tables themselves
    takes a `postgres_database`.
    """
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(_EMPTY)
        connection.execute("CREATE SCHEMA testing")
        yield shared_database
        connection.execute(_EMPTY)
        connection.execute("DROP SCHEMA IF EXISTS clock CASCADE")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))


@pytest.fixture
def direct(database: str, open_stores: dict[str, AwaitedStore]) -> AwaitedStore:
    """A store on `database`, which knows the liquidations 1 to 5 of accounts of their own."""
    store = open_stores[database]
    asyncio.run(store.put([of_account(each) for each in range(1, 6)]))
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A SQLite file that is not there yet."""
    return tmp_path / "store.db"


@pytest.fixture
def target(database: str) -> str:
    """A database that a file is moved to, which never gave a token or an id."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE claim, claim_event RESTART IDENTITY")
    return database
