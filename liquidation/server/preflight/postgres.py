"""Whether a PostgreSQL database can be used as the store; it is looked at in one transaction."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from liquidation.server.preflight.finding import Finding, note, ok, wrong
from liquidation.store.locations import PostgresDatabase
from liquidation.store.postgres.schema import (
    NEWEST,
    SchemaState,
    may_create,
    missing_privileges,
    state_at,
)

# How long each host may take to let somebody in, and the one that does to answer, in seconds.
_CONNECT_S: Final = 3
_ANSWER_S: Final = 3.0
# Clocks further apart than this are told.
_APART: Final = timedelta(seconds=1)

_MEANWHILE: Final = "for as long as it is so, calls are refused with -1011"

_SERVER: Final = """
    SELECT current_setting('server_version') AS version,
           pg_is_in_recovery() AS standby,
           current_setting('fsync') = 'on' AS syncs,
           current_setting('synchronous_standby_names') <> '' AS synchronous_standby,
           clock_timestamp() AS time
"""


@dataclass(frozen=True, slots=True)
class _Database:
    """What a server says of itself and of the database; `ahead` is its clock against this host's.

    `address` is the host that answered, where there may be several. `missing` are the privileges
    that the service needs and its role lacks, known where there is a schema to work on.
    """

    address: str
    may_create: bool
    ahead: timedelta
    schema: SchemaState
    missing: tuple[str, ...]
    version: str
    standby: bool
    syncs: bool
    synchronous_standby: bool


def postgres(what: str, database: PostgresDatabase) -> Iterator[Finding]:
    """What is to be told of `database`, as findings on `what`; nothing in it is changed."""
    name = database.told
    try:
        found = asyncio.run(_look(database))
    except psycopg.Error as error:
        yield wrong(what, f"{name}: {database.shown(_told(error))}; {_MEANWHILE}")
    except TimeoutError:
        yield wrong(what, f"{name}: no answer within {_ANSWER_S:g} s; {_MEANWHILE}")
    else:
        yield from _findings(what, name, found)


async def _look(database: PostgresDatabase) -> _Database:
    """Asks the database.

    Raises:
        psycopg.Error: it cannot be reached, or does not let itself be asked.
        TimeoutError: it was reached, and does not answer.
    """
    connecting = AsyncConnection.connect(
        database.url,
        connect_timeout=_CONNECT_S,
        prepare_threshold=None,
        fallback_application_name="liquidation check",
    )
    async with await connecting as connection, asyncio.timeout(_ANSWER_S):
        await connection.set_read_only(True)
        server = connection.cursor(row_factory=dict_row)
        before = datetime.now(UTC)
        (said,) = await (await server.execute(_SERVER)).fetchall()
        after, its_time = datetime.now(UTC), said.pop("time")
        # It was read at some moment between the two.
        ahead = its_time - min(max(its_time, before), after)
        creates = await may_create(connection)
        schema = await state_at(connection)
        missing = () if schema.problem() else await missing_privileges(connection)
        info = connection.info
        address = f"{info.hostaddr or info.host}:{info.port}"
        return _Database(address, creates, ahead, schema, missing, **said)


def _findings(what: str, name: str, found: _Database) -> Iterator[Finding]:
    server = f"{name}: PostgreSQL {found.version} at {found.address}"
    if found.standby:
        yield wrong(
            what,
            f"{server}: is a standby; with target_session_attrs=read-write the primary is found"
            " among several hosts",
        )
    else:
        yield _schema(what, server, found)
    if found.missing:
        yield wrong(what, f"{name}: the role lacks {', '.join(found.missing)}")
    if not found.syncs:
        told = "fsync is off: what was acknowledged is lost when its machine fails"
        yield note(what, f"{name}: {told}")
    if abs(found.ahead) > _APART:
        side = "ahead of" if found.ahead > timedelta() else "behind"
        seconds = abs(found.ahead).total_seconds()
        told = f"its clock, by which leases run, is {seconds:.1f} s {side} this host's"
        yield note(what, f"{name}: {told}")


def _schema(what: str, server: str, found: _Database) -> Finding:
    """Whether the start finds a schema that it can work on, or makes it so."""
    state = found.schema
    if state.version < NEWEST and found.may_create:
        if state.version == 0:
            return ok(what, f"{server}: has no tables yet, and will be set up")
        told = f"schema version {state.version}, which the start brings to {NEWEST} for good"
        return note(what, f"{server}: {told}")
    if problem := state.problem():
        return wrong(what, f"{server}: {problem}")
    standby = "commits wait for a synchronous standby"
    told = standby if found.synchronous_standby else "no synchronous standby"
    return ok(what, f"{server}: schema version {state.version}; {told}")


def _told(error: psycopg.Error) -> str:
    """What went wrong, in one line, without the details that a server adds."""
    if isinstance(error, psycopg.ProgrammingError) and not error.sqlstate:
        # No server said so, but libpq, of the URL; it may repeat any part of it.
        return "libpq does not take the URL"
    return " ".join((error.diag.message_primary or str(error)).split())
