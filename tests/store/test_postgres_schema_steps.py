"""The schema of the shared database: its steps, the lock they take, and what it must not be."""

import asyncio
from typing import Final

import pytest

from liquidation.store.base import SchemaError
from liquidation.store.postgres.schema import (
    NEWEST,
    STEPS,
    SchemaState,
    Step,
    may_create,
    migrate,
    require,
)
from tests.store.stores import connected, rows, set_up, until_blocked

NEWER: Final = "INSERT INTO liquidation_schema (version, oldest_service) VALUES (%s, %s)"
LATER: Final = Step(oldest_service=NEWEST, statements=("ALTER TABLE account ADD COLUMN note text",))
# What every version of the service has taken, and must take, before it changes a schema.
MIGRATES: Final = "SELECT pg_advisory_xact_lock(1818849653)"


async def test_each_step_is_written_down_with_the_oldest_service_that_can_use_it(
    postgres_database: str,
) -> None:
    async with connected(postgres_database) as connection:
        assert await migrate(connection, (*STEPS, LATER)) == SchemaState(NEWEST + 1, NEWEST)

    found = await rows(
        postgres_database, "SELECT version, oldest_service FROM liquidation_schema ORDER BY version"
    )
    assert found == [
        (version, step.oldest_service) for version, step in enumerate((*STEPS, LATER), start=1)
    ]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (SchemaState(3, 2), ""),
        (SchemaState(4, 3), ""),
        (
            SchemaState(2, 1),
            "the database has schema version 2, this service needs 3: run `liquidation db migrate`",
        ),
        (
            SchemaState(5, 4),
            (
                "the database has schema version 5, which services below 4 cannot use, and this"
                " one knows 3: it was migrated by a newer version"
            ),
        ),
    ],
)
def test_a_service_says_why_it_cannot_work_on_a_schema(state: SchemaState, problem: str) -> None:
    assert state.problem(known=3) == problem


async def test_a_step_waits_for_a_lock_for_five_seconds(postgres_database: str) -> None:
    step = Step(1, ("CREATE TABLE told AS SELECT current_setting('lock_timeout') AS patience",))
    async with connected(postgres_database) as connection:
        await migrate(connection, (*STEPS, step))

    assert await rows(postgres_database, "SELECT patience FROM told") == [("5s",)]


async def test_a_schema_that_is_new_enough_is_asked_for_without_a_wait(
    postgres_database: str,
) -> None:
    await set_up(postgres_database)
    async with connected(postgres_database) as other, other.transaction():
        await other.execute(MIGRATES)
        async with connected(postgres_database) as connection:
            await require(connection)


async def test_whoever_migrates_waits_for_those_who_do_in_any_version(
    postgres_database: str,
) -> None:
    async with connected(postgres_database) as connection:
        async with connected(postgres_database) as other, other.transaction():
            await other.execute(MIGRATES)
            migrating = asyncio.create_task(migrate(connection))
            await until_blocked(postgres_database, migrating)

        assert (await migrating).version == NEWEST


async def test_a_schema_that_is_missing_or_too_new_is_refused_by_what_is_wrong_with_it(
    postgres_database: str,
) -> None:
    await set_up(postgres_database)
    async with connected(postgres_database) as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute(NEWER, (NEWEST + 1, NEWEST + 1))
            with pytest.raises(SchemaError) as newer:
                await require(connection)
        async with connection.transaction(force_rollback=True):
            await connection.execute("DELETE FROM liquidation_schema")
            await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            await connection.execute("CREATE ROLE nobody_who_migrates")
            await connection.execute("GRANT SELECT ON liquidation_schema TO nobody_who_migrates")
            await connection.execute("SET LOCAL ROLE nobody_who_migrates")
            with pytest.raises(SchemaError) as missing:
                await require(connection)

    assert str(newer.value) == SchemaState(NEWEST + 1, NEWEST + 1).problem()
    assert str(missing.value) == SchemaState().problem()


async def test_where_tables_would_be_nowhere_none_may_be_made(postgres_database: str) -> None:
    async with connected(postgres_database) as connection:
        assert await may_create(connection)
        await connection.execute("SET search_path = nowhere")

        assert not await may_create(connection)


async def test_what_has_ended_is_in_no_index_of_what_goes_on(postgres_database: str) -> None:
    await set_up(postgres_database)

    found = await rows(
        postgres_database,
        """
        SELECT indexrelid::regclass::text, pg_get_expr(indpred, indrelid) FROM pg_index
        WHERE indpred IS NOT NULL AND indrelid::regclass::text IN ('liquidation', 'claim')
        """,
    )

    assert dict(found) == {
        "liquidation_open_by_account": "(close_time IS NULL)",
        "claim_one_active_per_account": "(state = 'ACTIVE'::text)",
        "claim_active_by_lease": "(end_time IS NULL)",
        "claim_ended": "(end_time IS NOT NULL)",
    }
