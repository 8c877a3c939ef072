"""The schema of the shared database: made by whoever comes first, changed beside who runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
import pytest
from psycopg import sql

from liquidation.rules.model import ClaimState
from liquidation.store.base import StoreUnavailableError
from liquidation.store.postgres.schema import NEWEST, PRIVILEGES, STEPS, Step, migrate
from tests.store.builders import begin, begin_request, granted, snapshot
from tests.store.postgres.server import PostgresServer
from tests.store.stores import AwaitedStore, once_it_answers, postgres_store, rows

NEWER: Final = "INSERT INTO liquidation_schema (version, oldest_service) VALUES (%s, %s)"
SERVICE: Final = "test_service"


async def test_several_that_find_it_empty_make_it_once(postgres_database: str) -> None:
    await asyncio.gather(*(_put_and_leave(postgres_database, number) for number in range(1, 7)))

    versions = await rows(postgres_database, "SELECT version FROM liquidation_schema")
    assert versions == [(each,) for each in range(1, NEWEST + 1)]


async def _put_and_leave(dsn: str, number: int) -> None:
    async with postgres_store(dsn, timeout_s=10) as store:
        (put,) = await store.put([snapshot(number)])
        assert put.opened


@asynccontextmanager
async def role(dsn: str) -> AsyncIterator[str]:
    """A role that may nothing but connect, and the URL of the database for it."""
    await rows(dsn, f"CREATE ROLE {SERVICE} LOGIN")
    try:
        yield dsn.replace("//test_admin@", f"//{SERVICE}@")
    finally:
        await rows(dsn, f"DROP OWNED BY {SERVICE}")
        await rows(dsn, f"DROP ROLE {SERVICE}")


async def migrated(dsn: str, steps: tuple[Step, ...] = STEPS) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await migrate(connection, steps)


async def test_a_role_that_may_make_no_tables_says_what_to_do_and_works_once_it_is_done(
    postgres_database: str,
) -> None:
    async with role(postgres_database) as url, postgres_store(url, timeout_s=0.7) as store:
        with pytest.raises(StoreUnavailableError, match="run `liquidation db migrate`"):
            await store.probe()
        with pytest.raises(StoreUnavailableError):
            await begin(store)

        await migrated(postgres_database)
        for table, privileges in PRIVILEGES.items():
            await rows(postgres_database, f"GRANT {', '.join(privileges)} ON {table} TO {SERVICE}")

        await once_it_answers(store.probe)
        async with postgres_store(url) as patient:
            claim = granted(await begin(patient, begin_request(snapshot=snapshot(1))))
            ended = await patient.end(claim.claim_id, None, ClaimState.COMPLETED, "")
            assert ended.applied
            assert await patient.close_liquidation(1) is not None
            await patient.expire(10)
            assert await patient.purge(0, 10) == 1


async def test_a_newer_schema_that_older_services_can_use_is_used(postgres_database: str) -> None:
    async with postgres_store(postgres_database) as store:
        await store.put([snapshot(1)])
        await rows(postgres_database, NEWER, NEWEST + 1, NEWEST)

        await store.probe()
        assert granted(await begin(store))
        async with postgres_store(postgres_database) as another:
            assert await another.get(1) == snapshot(1)
    # It is left as it is.
    newest = await rows(postgres_database, "SELECT max(version) FROM liquidation_schema")
    assert newest == [(NEWEST + 1,)]


async def test_a_newer_schema_that_older_services_must_not_touch_stops_them_until_it_is_gone(
    postgres_database: str,
) -> None:
    async with postgres_store(postgres_database) as patient:
        await patient.put([snapshot(1)])
        async with postgres_store(postgres_database, timeout_s=0.7) as store:
            await store.probe()
            await rows(postgres_database, NEWER, NEWEST + 1, NEWEST + 1)

            with pytest.raises(StoreUnavailableError, match="migrated by a newer version"):
                await store.probe()
            for _ in range(3):
                with pytest.raises(StoreUnavailableError, match="migrated by a newer version"):
                    await store.get(1)
            with pytest.raises(StoreUnavailableError):
                await begin(store)

            await rows(
                postgres_database,
                "DELETE FROM liquidation_schema WHERE version > %s",
                NEWEST,
            )
            await once_it_answers(store.probe)
        assert granted(await begin(patient))


NEXT: Final = Step(
    oldest_service=NEWEST,
    statements=(
        "ALTER TABLE account ADD COLUMN note text",
        "ALTER TABLE liquidation ADD COLUMN note text",
        "ALTER TABLE claim ADD COLUMN note text",
        "ALTER TABLE claim_event ADD COLUMN note text",
        "CREATE INDEX claim_by_note ON claim (note)",
    ),
)


async def test_the_next_step_is_made_while_this_version_serves_and_nothing_fails(
    postgres_database: str,
) -> None:
    done = asyncio.Event()
    counts = [0] * 8

    async def work(store: AwaitedStore, place: int) -> None:
        account = place + 1
        while not done.is_set():
            request = begin_request(snapshot=snapshot(account, account_id=f"account-{account}"))
            claim = granted(await begin(store, request))
            renewed = await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)
            assert renewed.applied
            ended = await store.end(claim.claim_id, None, ClaimState.CANCELLED, "")
            assert ended.applied
            assert await store.get(account) is not None
            counts[place] += 1

    async def reached(rounds: int) -> None:
        while min(counts) < rounds:
            await asyncio.sleep(0.005)

    async with postgres_store(postgres_database) as one, postgres_store(postgres_database) as other:
        async with asyncio.TaskGroup() as tasks:
            for place in range(len(counts)):
                tasks.create_task(work((one, other)[place % 2], place))
            await reached(5)
            await migrated(postgres_database, (*STEPS, NEXT))
            await reached(min(counts) + 5)
            done.set()
        await one.probe()

    newest = await rows(postgres_database, "SELECT max(version) FROM liquidation_schema")
    assert newest == [(NEWEST + 1,)]


async def test_what_is_prepared_follows_tables_that_change_under_it(
    postgres_database: str,
) -> None:
    async with postgres_store(postgres_database, connections=1) as store:
        for account in (1, 2, 3):
            request = begin_request(snapshot=snapshot(account, account_id=f"account-{account}"))
            claim = granted(await begin(store, request))
            assert await store.claim(claim_id=claim.claim_id) == claim

        await rows(postgres_database, "ALTER TABLE claim ALTER revision TYPE numeric(30)")

        assert await store.claim(claim_id=claim.claim_id) == claim


async def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres_server: PostgresServer,
) -> None:
    name = "test_latin"
    with postgres_server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
    try:
        async with postgres_store(postgres_server.dsn(name), timeout_s=0.7) as store:
            with pytest.raises(StoreUnavailableError, match="encoding LATIN1, and must have UTF8"):
                await store.probe()
    finally:
        postgres_server.drop_database(name)
