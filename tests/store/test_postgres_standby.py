"""Standbys: one that must have a claim before it is acknowledged, and one that is asked itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
import pytest

from liquidation.store.base import StateQuery, StoreUnavailableError
from tests.store.builders import begin, begin_request, granted, snapshot
from tests.store.postgres.databases import Databases
from tests.store.postgres.replication import Pair, replicated
from tests.store.postgres.server import PostgresServer, postgres
from tests.store.stores import once_it_answers, postgres_store, rows

IN_DOUBT: Final = "may have been committed"
WRITE: Final = "SELECT pg_logical_emit_message(true, '', '')"
WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    """A primary for which a test names a standby that is not there."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def databases(primary: PostgresServer) -> Databases:
    return Databases(primary)


@pytest.fixture
async def dsn(databases: Databases) -> AsyncIterator[str]:
    """A database of the primary that knows liquidation 1 of account-1."""
    with databases.lend() as dsn:
        async with postgres_store(dsn) as store:
            await store.put([snapshot(1)])
        yield dsn


async def set_standby(dsn: str, name: str) -> None:
    """Lets the primary wait for a standby of that name, or for none; returns once it does."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = local")
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        await connection.execute("SELECT pg_reload_conf()")
    while await commits_wait(dsn) is not bool(name):
        await asyncio.sleep(0.01)


async def commits_wait(dsn: str) -> bool:
    """Whether a commit waits for a standby now."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        writing = asyncio.create_task(connection.execute(WRITE))
        while not writing.done():
            if (pid,) in await rows(dsn, WAITING):
                await rows(dsn, "SELECT pg_cancel_backend(%s)", pid)
                await writing
                return True
            await asyncio.sleep(0.01)
        return False


@asynccontextmanager
async def standby_missing(dsn: str) -> AsyncIterator[None]:
    """The block during which no commit is on a standby."""
    await set_standby(dsn, "gone")
    try:
        yield
    finally:
        await set_standby(dsn, "")


async def waiting(dsn: str) -> int:
    """The process id of a session that waits for the standby, once there is one."""
    while True:
        if found := await rows(dsn, WAITING):
            return int(found[0][0])
        await asyncio.sleep(0.01)


async def test_a_claim_that_no_standby_has_is_not_acknowledged_until_one_has_it(
    dsn: str,
) -> None:
    async with postgres_store(dsn, timeout_s=1.0) as store:
        async with standby_missing(dsn), asyncio.timeout(20):
            request = begin_request("r-1", snapshot(1, 2))
            with pytest.raises(StoreUnavailableError):
                await begin(store, request)
            assert await rows(dsn, WAITING), "the commit goes on, and no timeout ends it"
        begun = await once_it_answers(lambda: begin(store, begin_request("r-1")))

    assert begun.known
    assert granted(begun).claim_id == request.claim_id


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_commit_that_is_torn_from_its_wait_for_the_standby_is_in_doubt(
    dsn: str, how: str
) -> None:
    async with postgres_store(dsn, timeout_s=1.5) as store:
        async with standby_missing(dsn), asyncio.timeout(30):
            beginning = asyncio.create_task(begin(store, begin_request("r-1", snapshot(1, 2))))
            await rows(dsn, f"SELECT {how}(%s)", await waiting(dsn))
            with pytest.raises(StoreUnavailableError, match=IN_DOUBT):
                await beginning
            # It is there, for all to see, and may yet be lost with the primary.
            assert await rows(dsn, "SELECT request_id FROM claim") == [("r-1",)]
            with pytest.raises(StoreUnavailableError):
                await begin(store, begin_request("r-1"))
        assert (await once_it_answers(lambda: begin(store, begin_request("r-1")))).known


async def test_while_no_standby_has_what_is_written_reads_go_on(dsn: str) -> None:
    async with postgres_store(dsn) as store, standby_missing(dsn):
        (state,) = await store.states([StateQuery(1, "nobody")])
        await store.probe()

    assert state.liquidation == snapshot(1)


async def test_the_background_finds_out_that_nothing_can_be_written(dsn: str) -> None:
    async with postgres_store(dsn, timeout_s=0.5) as store:
        async with standby_missing(dsn):
            with pytest.raises(StoreUnavailableError):
                await store.expire(10)
        assert await store.expire(10) == ()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with replicated() as pair:
        yield pair


async def test_a_standby_is_not_asked_until_it_is_the_primary(pair: Pair) -> None:
    async with postgres_store(pair.primary.dsn(), timeout_s=10) as store:
        await store.put([snapshot(1)])
        claim = granted(await begin(store, begin_request("r-1")))

    async with postgres_store(pair.standby.dsn(), timeout_s=0.5) as lone:
        with pytest.raises(StoreUnavailableError, match="25006"):
            await lone.probe()
        with pytest.raises(StoreUnavailableError, match="25006"):
            await lone.states([StateQuery(1, "nobody")])
        with pytest.raises(StoreUnavailableError):
            await lone.claim(request_id="r-1")
        async with postgres_store(pair.dsn(), timeout_s=5) as either:
            assert (await either.claim(request_id="r-1")) == claim

            await asyncio.to_thread(pair.primary.kill)
            await asyncio.to_thread(pair.promote)

            await once_it_answers(lone.probe)
            await once_it_answers(either.probe)
            again = await begin(lone, begin_request("r-1"))
            assert (again.known, again.claim) == (True, claim)
            assert (await begin(either, begin_request("another"))).claim is None


async def test_a_primary_that_is_told_to_take_no_writes_is_obeyed_at_once(dsn: str) -> None:
    async with postgres_store(dsn, timeout_s=1.0) as store:
        await store.probe()
        await set_read_only(dsn, "on")
        try:
            asked: list[Callable[[], Awaitable[object]]] = [
                lambda: begin(store, begin_request("r-1")),
                lambda: store.states([StateQuery(1, "nobody")]),
                store.probe,
            ]
            for ask in asked:
                with pytest.raises(StoreUnavailableError, match="25006"):
                    await ask()
        finally:
            await set_read_only(dsn, "off")

        assert granted(await once_it_answers(lambda: begin(store, begin_request("r-1"))))


async def set_read_only(dsn: str, to: str) -> None:
    """Says of the whole server whether it takes writes by itself; returns once it is so."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {to}")
        await connection.execute("SELECT pg_reload_conf()")
    while await rows(dsn, "SHOW default_transaction_read_only") != [(to,)]:
        await asyncio.sleep(0.01)
