"""Stores as tests ask them: every method is awaited, though the store's own call back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
from psycopg import sql

from liquidation.rules.decision import Decision
from liquidation.rules.model import Claim, ClaimEvent, ClaimState, Liquidation, StoredState
from liquidation.store.base import (
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    ClaimRecord,
    Done,
    Page,
    PutResult,
    StateQuery,
    Store,
    StoreUnavailableError,
)
from liquidation.store.postgres import schema
from liquidation.store.postgres.store import PostgresStore
from liquidation.store.sqlite.connections import StoreClock
from liquidation.store.sqlite.store import SqliteStore
from tests.clocks import Clock
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import HOST, at_port

# No server listens there: port 1 is reserved.
NOWHERE = "postgresql://127.0.0.1:1/nothing"

R = TypeVar("R")

_ALL = ClaimFilter()
_PATIENCE_S = 30
_BLOCKED = """
    SELECT pid FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def answer_to(ask: Callable[[Done[R]], None]) -> "asyncio.Future[R]":
    """Calls `ask` with a callback, and gives what that is called with; an exception is raised."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()

    def settle(outcome: R | Exception) -> None:
        if answer.cancelled():
            return
        assert not answer.done(), "it was called twice"
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def done(outcome: R | Exception) -> None:
        # Nobody waits any more on a loop that was closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    ask(done)
    return answer


class AwaitedStore:
    """A store whose answers are awaited; `store` is the one that is asked."""

    def __init__(self, store: Store) -> None:
        # Any: tests of one engine look into it.
        self.store: Any = store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        found: list[StoredState] | None = self.store.states(queries)
        if found is not None:
            return found
        return await self.read_states(queries)

    async def read_states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        return await answer_to(lambda done: self.store.read_states(queries, done))

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        return await answer_to(lambda done: self.store.put(liquidations, done))

    async def get(self, liquidation_id: int) -> Liquidation | None:
        return await answer_to(lambda done: self.store.get(liquidation_id, done))

    async def page(self, account_id: str, after: int, size: int) -> Page:
        return await answer_to(lambda done: self.store.page(account_id, after, size, done))

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        return await answer_to(lambda done: self.store.close_liquidation(liquidation_id, done))

    async def begin(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult:
        return await answer_to(lambda done: self.store.begin(request, decide, done))

    async def renew(self, claim_id: str, token: int, lease_us: int) -> ChangeResult:
        return await answer_to(lambda done: self.store.renew(claim_id, token, lease_us, done))

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str = ""
    ) -> ChangeResult:
        return await answer_to(lambda done: self.store.end(claim_id, token, state, reason, done))

    async def record(self, *, claim_id: str = "", request_id: str = "") -> ClaimRecord | None:
        return await answer_to(
            lambda done: self.store.claim(claim_id=claim_id, request_id=request_id, done=done)
        )

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        found = await self.record(claim_id=claim_id, request_id=request_id)
        return None if found is None else found.claim

    async def history(self, claim_id: str) -> list[ClaimEvent]:
        found = await self.record(claim_id=claim_id)
        return [] if found is None else list(found.history)

    async def claims(
        self, wanted: ClaimFilter = _ALL, below: int | None = None, size: int = 1000
    ) -> ClaimPage:
        return await answer_to(lambda done: self.store.claims(wanted, below, size, done))

    async def count_active(self) -> int:
        return await answer_to(self.store.count_active)

    async def expire(self, most: int = 100) -> Sequence[Claim]:
        return await answer_to(lambda done: self.store.expire(most, done))

    async def purge(self, retention_us: int = 0, most: int = 100) -> int:
        return await answer_to(lambda done: self.store.purge(retention_us, most, done))

    async def probe(self) -> None:
        await answer_to(self.store.probe)

    async def aclose(self) -> None:
        # In a thread: what is still to be answered is answered on this loop.
        await asyncio.to_thread(self.store.close)


def postgres_store(dsn: str, **settings: Any) -> AwaitedStore:
    """The store in the database at `dsn`."""
    return AwaitedStore(PostgresStore(dsn, **settings))


def sqlite_store(path: Path, clock: StoreClock | None = None, **settings: Any) -> AwaitedStore:
    """The store in the file at `path`."""
    return AwaitedStore(SqliteStore(path, clock or Clock(), **settings))


async def once_it_answers(ask: Callable[[], Awaitable[R]]) -> R:
    """What a store answers, which is asked again for as long as it is unavailable."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            with suppress(StoreUnavailableError):
                return await ask()
            await asyncio.sleep(0.01)  # a refusal may come without any wait


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Another session on a database, in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def rows(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a statement of another session finds."""
    async with connected(dsn) as connection:
        cursor = await connection.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def set_up(dsn: str) -> str:
    """Makes the tables in a database; returns its URL."""
    async with connected(dsn) as connection:
        await schema.migrate(connection)
    return dsn


@asynccontextmanager
async def held(dsn: str, statement: str) -> AsyncIterator[None]:
    """Another session holds the locks that a statement takes."""
    async with connected(dsn) as connection, connection.transaction(force_rollback=True):
        await connection.execute(statement)
        yield


async def until_blocked(dsn: str, waiting: asyncio.Future[Any]) -> None:
    """Returns once a session on the database waits for a lock, for which `waiting` waits."""
    while not await rows(dsn, _BLOCKED):
        assert not waiting.done()
        await asyncio.sleep(0.005)


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server at `dsn`, and the URL of the same database through it."""
    port = psycopg.conninfo.conninfo_to_dict(dsn)["port"]
    assert port is not None
    async with Proxy(HOST, int(port)) as proxy:
        yield proxy, at_port(dsn, proxy.port)


class ServerClock(Clock):
    """The clock of the database at `dsn`, from the next connection on; moved by hand.

    The service calls `clock_timestamp()`. If another schema stands before `pg_catalog` in the
    search_path of the database, a function of that name there is the one that is called.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute(
            """
            CREATE SCHEMA clock;
            CREATE TABLE clock.wall (wall_us bigint NOT NULL);
            CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
                'SELECT timestamptz ''epoch'' + wall_us * interval ''1 microsecond''
                 FROM clock.wall';
            """
        )
        self.connection.execute("INSERT INTO clock.wall VALUES (%s)", (self.wall_us(),))
        self.connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = clock, pg_catalog, public").format(
                sql.Identifier(self.connection.info.dbname)
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._show()

    def set_wall(self, seconds: float) -> None:
        super().set_wall(seconds)
        self._show()

    def reset(self) -> None:
        """Sets it to where it began."""
        Clock.__init__(self)
        self._show()

    def _show(self) -> None:
        self.connection.execute("UPDATE clock.wall SET wall_us = %s", (self.wall_us(),))


@asynccontextmanager
async def busy(store: AwaitedStore) -> AsyncIterator[None]:
    """A store on PostgreSQL takes what is asked in the block after it, all together."""
    begun, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        go.wait()

    store.store.count_active(hold)
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        go.set()


async def together(store: AwaitedStore, *calls: Coroutine[Any, Any, R]) -> list[R | BaseException]:
    """What becomes of calls to a store on PostgreSQL that are sure to go together."""
    async with busy(store):
        tasks = [asyncio.create_task(each) for each in calls]
        await asyncio.sleep(0)  # each asks now
    return await asyncio.gather(*tasks, return_exceptions=True)
