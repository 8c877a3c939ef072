"""A store on PostgreSQL as tests of faults need it: with settings, or behind a broken network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import psycopg

from liquidation.store.base import StoreUnavailableError
from liquidation.store.postgres.connection import Transaction
from tests.store.awaited import AwaitedStore, awaited_postgres
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import HOST, at_port

__all__ = [
    "in_transaction",
    "on_its_loop",
    "once_it_answers",
    "opened",
    "proxied",
    "rows",
    "until_blocked",
]

T = TypeVar("T")

_PATIENCE_S = 30
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@asynccontextmanager
async def opened(dsn: str, **settings: Any) -> AsyncIterator[AwaitedStore]:
    """A store on the database at `dsn`, whose schema is made."""
    store = awaited_postgres(dsn, **settings)
    try:
        yield store
    finally:
        await store.aclose()


async def on_its_loop(store: AwaitedStore, work: Coroutine[Any, Any, T]) -> T:
    """What becomes of something that only the store's own loop can do."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, store.store._loop))


async def in_transaction(store: AwaitedStore, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """What `work` returns of a transaction of the store's."""
    return await on_its_loop(store, store.store._database.run(work))


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server at `dsn`, and the URL of the same database through it."""
    port = psycopg.conninfo.conninfo_to_dict(dsn)["port"]
    assert port is not None
    async with Proxy(HOST, int(port)) as proxy:
        yield proxy, at_port(dsn, proxy.port)


async def once_it_answers(ask: Callable[[], Awaitable[T]]) -> T:
    """What a store says once it answers: until then it is asked again and again."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            with suppress(StoreUnavailableError):
                return await ask()
            await asyncio.sleep(0.01)  # a refusal may come without any wait


async def rows(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a statement of another session finds, which is in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def until_blocked(dsn: str, waiting: asyncio.Future[Any], sessions: int = 1) -> None:
    """Returns once so many sessions of the server wait for a lock, `waiting` being one of them."""
    while await rows(dsn, _BLOCKED) != [(sessions,)]:
        assert not waiting.done()
        await asyncio.sleep(0.005)
