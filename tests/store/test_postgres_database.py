"""Transactions on PostgreSQL: when they are tried again, when they are given up, what is told."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from liquidation.store.base import StoreError, StoreUnavailableError
from liquidation.store.postgres.batches import ContendedError
from liquidation.store.postgres.connection import Rows, Statement, Transaction
from liquidation.store.postgres.database import Database
from liquidation.store.postgres.schema import NEWEST, SchemaState
from tests.store.moving import connected, set_up
from tests.store.opened import once_it_answers, proxied, rows

# A server that nobody listens as: port 1 is reserved.
NOBODY = "postgresql://127.0.0.1:1/nothing"
ONE: Statement = ("SELECT 1", {})
# The server would give up in the same moment, and be heard before or after.
UNBOUNDED: Statement = ("SET LOCAL statement_timeout = 0", {})
FOREVER: Statement = ("SELECT pg_sleep(60)", {})
DIES: Statement = ("SELECT pg_terminate_backend(pg_backend_pid())", {})
AGAIN: Statement = ("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$", {})
# What is said of a statement that is prepared in another session.
NOT_PREPARED: Statement = ("EXECUTE no_such_statement", {})
LOCK_TIMEOUT: Statement = ("SELECT current_setting('lock_timeout')", {})
PREPARED: Statement = ("SELECT statement FROM pg_prepared_statements", {})
IN_DOUBT = "; it may have been committed"
TOO_NEW = f"INSERT INTO liquidation_schema VALUES ({NEWEST + 1}, {NEWEST + 1})"

Work = Callable[[Transaction], Awaitable[list[Rows]]]


@asynccontextmanager
async def database(dsn: str, timeout_s: float = 9, connections: int = 1) -> AsyncIterator[Database]:
    found = Database(dsn, timeout_s, connections)
    await found.open()
    try:
        yield found
    finally:
        await found.aclose()


@asynccontextmanager
async def answering(
    dsn: str, timeout_s: float = 9, connections: int = 1
) -> AsyncIterator[Database]:
    async with database(dsn, timeout_s, connections) as found:
        await once_it_answers(found.probe)
        yield found


def asking(*statements: Statement, commit: bool = False) -> Work:
    """Asks the next of `statements` each time that it is tried; the last again and again."""
    left = list(statements)

    async def work(transaction: Transaction) -> list[Rows]:
        statement = left.pop(0) if len(left) > 1 else left[0]
        return (await transaction.ask(UNBOUNDED, statement, commit=commit))[1:]

    return work


async def problem(found: Database, work: Work, **settings: Any) -> str:
    """Why there was no answer."""
    async with asyncio.timeout(30):
        with pytest.raises(StoreUnavailableError) as raised:
            await found.run(work, **settings)
    return str(raised.value)


async def test_a_url_that_is_no_sound_one_is_refused_without_its_words() -> None:
    with pytest.raises(StoreError) as raised:
        Database("postgresql://u:S3cret@[nowhere", 1, 1)

    assert str(raised.value) == "the URL of the PostgreSQL database is not a sound one"


@pytest.mark.parametrize(
    ("settings", "bound"), [({}, "6s"), ({"patient": True}, "6s"), ({"patient": False}, "2s")]
)
async def test_others_are_waited_for_for_a_part_of_the_time(
    postgres_database: str, settings: dict[str, bool], bound: str
) -> None:
    async with database(postgres_database, timeout_s=10) as found:
        assert await found.run(asking(LOCK_TIMEOUT), **settings) == [[(bound,)]]


async def test_a_server_that_nobody_listens_as_is_told_in_one_line() -> None:
    async with database(NOBODY, timeout_s=0.2) as found:
        assert await problem(found, asking(ONE)) == (
            "no connection within 0.2 s: connection failed: connection to server at"
            ' "127.0.0.1", port 1 failed: Connection refused'
        )


async def test_a_server_that_never_answered_is_told_as_that(postgres_database: str) -> None:
    async with proxied(postgres_database) as (proxy, dsn):
        proxy.drop()
        async with database(dsn, timeout_s=0.2) as found:
            told = await problem(found, asking(ONE))
            proxy.heal()

    assert told == "no connection within 0.2 s: it has not answered yet"


async def test_a_schema_that_cannot_be_worked_on_is_told(postgres_database: str) -> None:
    await set_up(postgres_database)
    await rows(postgres_database, TOO_NEW)
    newer = SchemaState(NEWEST + 1, NEWEST + 1).problem()

    async with database(postgres_database, timeout_s=1) as found:
        assert await problem(found, asking(ONE)) == f"no connection within 1 s: {newer}"


async def test_a_schema_that_changes_meanwhile_is_found_out_by_the_probe(
    postgres_database: str,
) -> None:
    async with answering(postgres_database) as found:
        await rows(postgres_database, TOO_NEW)

        with pytest.raises(StoreUnavailableError) as raised:
            await found.probe()

    assert str(raised.value) == SchemaState(NEWEST + 1, NEWEST + 1).problem()


async def test_the_first_connection_makes_the_schema_and_is_ready(
    postgres_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with database(postgres_database) as found:
        assert await found.run(asking(ONE)) == [[(1,)]]

    assert caplog.record_tuples == [], "no connection had to be made again"


async def test_tables_without_a_version_are_no_schema(postgres_database: str) -> None:
    await set_up(postgres_database)
    await rows(postgres_database, "DELETE FROM liquidation_schema")

    async with database(postgres_database, timeout_s=1) as found:
        assert await problem(found, asking(ONE)) == (
            'no connection within 1 s: relation "account" already exists (42P07)'
        )


async def test_more_at_once_than_there_are_connections_wait_and_are_told_why(
    postgres_database: str,
) -> None:
    async with answering(postgres_database, timeout_s=1, connections=3) as found:
        all_here = asyncio.Barrier(3)

        async def meet(transaction: Transaction) -> None:
            await transaction.ask(ONE)
            await all_here.wait()

        await asyncio.gather(*(once_it_answers(lambda: found.run(meet)) for _ in range(3)))
        # The first three in the same moment, so that none of them gives its connection on.
        told = await asyncio.gather(*(problem(found, asking(FOREVER)) for _ in range(4)))

    assert sorted(told) == [
        *["no answer within 1 s"] * 3,
        "no connection within 1 s: all connections are in use",
    ]


@pytest.mark.parametrize(
    ("statements", "commit", "told"),
    [
        ((FOREVER,), False, "no answer within 1 s"),
        ((FOREVER,), True, "no answer within 1 s; it may have been committed"),
        ((AGAIN, FOREVER), False, "no answer within 1 s, before: again (40001)"),
    ],
)
async def test_what_is_cut_off_at_its_time_is_told_with_what_was_before(
    postgres_database: str, statements: tuple[Statement, ...], commit: bool, told: str
) -> None:
    async with answering(postgres_database, timeout_s=1, connections=2) as found:
        assert await problem(found, asking(*statements, commit=commit)) == told


async def test_that_it_may_have_been_committed_is_told_once(postgres_database: str) -> None:
    async with answering(postgres_database, timeout_s=1) as found:
        told = await problem(found, asking(DIES, FOREVER, commit=True))

    assert told.startswith("no answer within 1 s, before: ")
    assert told.count(IN_DOUBT) == 1
    assert told.endswith(IN_DOUBT)


async def test_where_no_connection_follows_it_is_told_what_the_last_one_said(
    postgres_database: str,
) -> None:
    async with (
        proxied(postgres_database) as (proxy, dsn),
        answering(dsn, timeout_s=1) as found,
    ):

        async def work(transaction: Transaction) -> list[Rows]:
            proxy.drop()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)
            proxy.cut()
            return await transaction.ask(ONE)

        told = await problem(found, work)
        proxy.heal()

    assert told.startswith("no connection within 1 s: ")
    assert "it has not answered yet" not in told
    assert "in use" not in told


async def test_a_transaction_that_lost_its_connection_is_tried_again(
    postgres_database: str,
) -> None:
    """A caller says otherwise where that would not give the right answer."""
    async with answering(postgres_database) as found:
        assert await found.run(asking(DIES, ONE, commit=True)) == [[(1,)]]
        told = await problem(found, asking(DIES, ONE, commit=True), repeatable=False)

    assert told.count(IN_DOUBT) == 1
    assert told.endswith(IN_DOUBT)


async def test_what_the_server_refuses_is_not_tried_again(postgres_database: str) -> None:
    async with answering(postgres_database) as found:
        told = await problem(found, asking(("SELECT 1 / 0", {}), ONE))

    assert told == "division by zero (22012)"


async def test_others_that_hold_an_account_for_too_long_are_told(postgres_database: str) -> None:
    async with (
        answering(postgres_database, timeout_s=1) as found,
        connected(postgres_database) as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE claim")
        with pytest.raises(ContendedError) as raised:
            await found.run(asking(("SELECT FROM claim", {})), patient=False)

    assert str(raised.value) == "others held the account for too long"


async def test_once_it_is_closed_there_is_no_answer_at_once(postgres_database: str) -> None:
    async with answering(postgres_database) as found:
        pass

    told = await problem(found, asking(ONE))
    assert told.endswith("is already closed")


async def test_statements_are_prepared_until_a_pooler_in_between_is_found_out(
    postgres_database: str,
) -> None:
    one, told = asking(ONE, commit=True), asking(PREPARED)
    async with answering(postgres_database) as found:
        await found.run(one)
        await found.run(one)
        (prepared,) = await found.run(told)

        assert await found.run(asking(NOT_PREPARED, ONE)) == [[(1,)]]

        await found.run(one)
        await found.run(one)
        assert ("SELECT 1",) in prepared
        assert await found.run(told) == [[]]


async def test_closing_waits_for_what_is_under_way(postgres_database: str) -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def work(transaction: Transaction) -> list[Rows]:
        begun.set()
        await free.wait()
        return await transaction.ask(ONE, commit=True)

    async with answering(postgres_database) as found:
        running = asyncio.create_task(found.run(work))
        await begun.wait()
        closing = asyncio.create_task(found.aclose())
        await asyncio.sleep(0)
        free.set()

        assert await running == [[(1,)]]
        await closing


async def test_what_nobody_waits_for_any_more_ends_without_noise(postgres_database: str) -> None:
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    begun = asyncio.Event()

    async def work(transaction: Transaction) -> list[Rows]:
        begun.set()
        return await transaction.ask(("SELECT pg_sleep(0.1), 1 / 0", {}))

    async with answering(postgres_database) as found:
        caller = asyncio.create_task(found.run(work))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await found.run(asking(ONE))
        assert found._under_way == set(), "nothing is kept of what has ended"
    gc.collect()

    assert noise == []
