"""The PostgreSQL schema: numbered steps, forward only.

A step that is published is never edited; what changes later is a new step. Services of two versions
run beside each other while they are replaced, so each step says which services can still work on
the schema that it makes: `oldest_service` is the newest schema that such a service knows. What an
older service needs is taken away only by the step after the one that made it needless.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Final

from psycopg import AsyncConnection, errors

from liquidation.store.base import SchemaError
from liquidation.store.sql import statements_of

# Whoever migrates holds this lock until its transaction ends; any number that nobody else takes.
LOCK_KEY: Final = 0x6C697175
# How long a lock is waited for, in seconds: a table that is locked queues everybody behind it.
PATIENCE_S: Final = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One version of the schema, and how it is made of the one before."""

    oldest_service: int
    statements: tuple[str, ...]


STEPS: Final = (Step(1, statements_of("liquidation.store.postgres", "migrations/1.sql")),)

# The version that this service makes, and the one that it needs.
NEWEST: Final = len(STEPS)
# What a role needs to serve, by table; what hangs on a claim that is purged goes with it.
PRIVILEGES: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("SELECT", "INSERT", "UPDATE"),
    "liquidation": ("SELECT", "INSERT", "UPDATE"),
    "claim": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "claim_event": ("SELECT", "INSERT"),
    "liquidation_schema": ("SELECT",),
}

# The table of the versions, which every step adds its row to.
VERSIONS: Final = """
    CREATE TABLE IF NOT EXISTS liquidation_schema (
        version        integer PRIMARY KEY,
        oldest_service integer NOT NULL,
        applied_time   timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
# The version of the schema, and the oldest service that can work on it.
STATE: Final = """
    SELECT version, oldest_service FROM liquidation_schema ORDER BY version DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a database holds: version 0 where there is nothing of this service."""

    version: int = 0
    oldest_service: int = 0

    def problem(self, known: int = NEWEST) -> str:
        """Why a service that knows schema version `known` cannot work on it; "" where it can."""
        if self.version < known:
            return (
                f"the database has schema version {self.version}, this service needs {known}: "
                "run `liquidation db migrate`"
            )
        if self.oldest_service > known:
            return (
                f"the database has schema version {self.version}, which services below "
                f"{self.oldest_service} cannot use, and this one knows {known}: "
                "it was migrated by a newer version"
            )
        return ""


async def state_at(connection: AsyncConnection[Any]) -> SchemaState:
    """The version of the schema that the connection finds by its search_path; changes nothing.

    Raises:
        psycopg.Error: the database cannot be read.
    """
    try:
        row = await (await connection.execute(STATE)).fetchone()
    except errors.UndefinedTable:
        return SchemaState()
    return SchemaState() if row is None else SchemaState(*row)


async def require(connection: AsyncConnection[Any]) -> None:
    """Returns where this service can work on the database, making it so where its role may.

    Raises:
        SchemaError: it cannot, and the role may not create tables, or the database is newer.
        psycopg.Error: the database cannot be used.
    """
    state = await state_at(connection)
    if state.version < NEWEST and await may_create(connection):
        state = await migrate(connection)
    if problem := state.problem():
        raise SchemaError(problem)


async def migrate(connection: AsyncConnection[Any], steps: tuple[Step, ...] = STEPS) -> SchemaState:
    """Does all steps that are missing, in one transaction; several may try at once.

    A database that is newer is left as it is. `connection` is in autocommit mode.

    Raises:
        psycopg.Error: the database cannot be used, or the role may not.
    """
    async with connection.transaction():
        # The version is read after the lock was waited for, and must be that of after.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE_S}s'")
        # Of the transaction, not of the session: it holds through a pooler of connections too.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        await connection.execute(VERSIONS)
        state = await state_at(connection)
        for version, step in enumerate(steps[state.version :], start=state.version + 1):
            for statement in step.statements:
                await connection.execute(statement)
            state = SchemaState(version, step.oldest_service)
            await connection.execute(
                "INSERT INTO liquidation_schema (version, oldest_service) VALUES (%s, %s)",
                (state.version, state.oldest_service),
            )
    return state


async def may_create(connection: AsyncConnection[Any]) -> bool:
    """Whether the role of the connection may make tables where they would be looked for."""
    answer = await connection.execute(
        "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        " AND NOT pg_is_in_recovery()"
    )
    return await answer.fetchone() == (True,)


_HEAD: Final = """
-- The schema of the liquidation service: from version {before} to {after}, all of it or nothing.
-- To be run by the owner of the schema that the service works in, first in the search_path:
--   psql --set ON_ERROR_STOP=1 --dbname URL --file FILE
"""


def script(state: SchemaState, steps: tuple[Step, ...] = STEPS) -> str:
    """What `migrate` would do on a database in `state`, as SQL; "" where nothing is missing.

    Where others have done a step of it meanwhile, it fails and changes nothing.
    """
    if state.version >= len(steps):
        return ""
    head = _HEAD.format(before=state.version, after=len(steps)).lstrip()
    return head + "\n".join(("BEGIN;", *_statements(state, steps), "COMMIT;", ""))


def _statements(state: SchemaState, steps: tuple[Step, ...]) -> Iterator[str]:
    yield f"SET LOCAL lock_timeout = '{PATIENCE_S}s';"
    # Nobody else migrates meanwhile.
    yield f"SELECT pg_advisory_xact_lock({LOCK_KEY});"
    yield _written(VERSIONS)
    for version, step in enumerate(steps[state.version :], start=state.version + 1):
        yield f"\n-- Version {version}"
        yield from map(_written, step.statements)
        yield (
            "INSERT INTO liquidation_schema (version, oldest_service)"
            f" VALUES ({version}, {step.oldest_service});"
        )


def _written(statement: str) -> str:
    return f"{dedent(statement).strip()};"
