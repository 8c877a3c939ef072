"""The proxy breaks the network in the ways that it says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tests.store.postgres.proxy import IDLE, Proxy
from tests.store.postgres.scratch import free_port
from tests.store.postgres.server import HOST, PostgresServer, at_port

_Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[Proxy]:
    """A proxy before the shared server."""
    async with Proxy(HOST, postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def dsn(proxy: Proxy, postgres_database: str) -> str:
    """A database reached through the proxy."""
    return at_port(postgres_database, proxy.port)


async def test_it_passes_everything_on(dsn: str, proxy: Proxy) -> None:
    async with await _connect(dsn) as connection:
        cursor = await connection.execute("SELECT repeat('x', 3000000)")
        assert await cursor.fetchone() == ("x" * 3_000_000,)
        assert proxy.connections == 1


async def test_dropped_nothing_gets_through_until_it_is_healed(
    dsn: str, proxy: Proxy, postgres_database: str
) -> None:
    async with await _connect(dsn) as old, await _connect(postgres_database) as direct:
        proxy.drop()
        asked = asyncio.create_task(_number(old))
        connecting = asyncio.create_task(_connect(dsn))
        done, _ = await asyncio.wait([asked, connecting], timeout=0.1)
        assert not done
        assert await _number(direct) == 1
        proxy.heal()
        assert await asked == 1
        async with await connecting as new:
            assert await _number(new) == 1


async def test_cut_connections_are_reset_and_new_ones_too_until_it_is_healed(
    dsn: str, proxy: Proxy
) -> None:
    old = await _connect(dsn)
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        await _number(old)
    with pytest.raises(psycopg.OperationalError):
        await _connect(dsn)
    proxy.heal()
    async with await _connect(dsn) as new:
        assert await _number(new) == 1
    await old.close()


async def test_dropped_connections_can_be_cut(dsn: str, proxy: Proxy) -> None:
    async with await _connect(dsn) as old:
        proxy.drop()
        asked = asyncio.create_task(_number(old))
        connecting = asyncio.create_task(_connect(dsn))
        done, _ = await asyncio.wait([asked, connecting], timeout=0.1)
        assert not done
        proxy.cut()
        for each in (asked, connecting):
            with pytest.raises(psycopg.OperationalError):
                await each


async def test_delayed_chunks_arrive_later(dsn: str, proxy: Proxy, postgres_database: str) -> None:
    async with await _connect(dsn) as slow, await _connect(postgres_database) as direct:
        before = asyncio.get_running_loop().time()
        proxy.delay(0.1)
        asked = asyncio.create_task(_number(slow))
        assert await _number(direct) == 1
        assert not asked.done()
        assert await asked == 1
        assert asyncio.get_running_loop().time() - before >= 0.2  # there and back


async def test_a_commit_is_done_and_its_answer_lost(
    dsn: str, proxy: Proxy, postgres_database: str
) -> None:
    async with await _connect(postgres_database) as direct:
        await direct.execute("CREATE TABLE kept (number int)")
        lost = proxy.lose_answer_to(b"COMMIT")
        connection = await psycopg.AsyncConnection.connect(dsn)
        await connection.execute("INSERT INTO kept VALUES (1)")
        assert not lost.is_set()
        with pytest.raises(psycopg.OperationalError):
            await connection.commit()
        assert lost.is_set()
        await connection.close()
        assert await _number(direct, "SELECT number FROM kept") == 1
        async with await _connect(dsn) as after:  # it loses one, and no other
            await after.execute("BEGIN")
            await after.execute("COMMIT")


async def test_an_answer_of_many_chunks_is_lost_to_its_last_byte() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(6)
        writer.write(b"x" * 1_000_000 + IDLE)
        await reader.read()
        writer.close()

    async with _before(answer) as (proxy, reader, writer):
        lost = proxy.lose_answer_to(b"COMMIT")
        writer.write(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert lost.is_set()


async def test_a_side_that_closes_is_closed_on_the_other_too() -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"last words"
        closed.set()
        writer.close()

    async with _before(wait) as (_, reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        async with asyncio.timeout(30):
            await closed.wait()
            assert await reader.read() == b""


async def test_a_server_that_is_gone_is_a_reset(dsn: str) -> None:
    async with Proxy(HOST, free_port()) as before_nothing:
        with pytest.raises(psycopg.OperationalError):
            await _connect(at_port(dsn, before_nothing.port))
        assert before_nothing.connections == 0


@asynccontextmanager
async def _before(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A proxy before a server of the test's own, and a connection to it."""
    server = await asyncio.start_server(serve, HOST, 0)
    async with server, Proxy(HOST, server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        try:
            yield proxy, reader, writer
        finally:
            writer.close()


async def _connect(dsn: str) -> _Connection:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)


async def _number(connection: _Connection, query: str = "SELECT 1") -> object:
    row = await (await connection.execute(query)).fetchone()
    return row and row[0]
