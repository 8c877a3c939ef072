"""What `liquidation db` does with a PostgreSQL database. Needs the extra `postgres`.

What goes wrong ends the command with one line, in which no password stands.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict

from liquidation.cli.options import printable
from liquidation.store import copy as store_copy
from liquidation.store.base import StoreError
from liquidation.store.copy import Copied, Progress
from liquidation.store.locations import PostgresDatabase, SqliteFile
from liquidation.store.postgres import schema
from liquidation.store.postgres.connection import PARAMETERS, require_utf8
from liquidation.store.postgres.schema import (
    NEWEST,
    STEPS,
    DatabaseStatus,
    SchemaState,
    look,
    script,
)
from liquidation.store.sqlite.connections import HostClock
from liquidation.store.sqlite.source import SourceError

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

_R = TypeVar("_R")
_Connection = AsyncConnection[Any]

# How long a look may take, in seconds.
_LOOK_S: Final = 30.0
# Unless the URL says otherwise. Here people wait, and not callers.
_PARAMETERS: Final = PARAMETERS | {
    "fallback_application_name": "liquidation db",
    "connect_timeout": 5,
    "tcp_user_timeout": 20_000,
}


def status(database: PostgresDatabase) -> DatabaseStatus:
    """How the database stands."""
    return _asked(database, look, _LOOK_S)


def status_record(found: DatabaseStatus) -> dict[str, Any]:
    """How it stands, as far as only a database does, as a JSON object."""
    return {
        "not_counted": found.uncounted,
        "schema": {
            "version": found.state.version,
            "newest_known": NEWEST,
            "oldest_service": found.state.oldest_service,
        },
        "address": found.address,
        "server": asdict(found.server),
        "standbys": [asdict(each) for each in found.standbys],
        "may_create": found.may_create,
        "missing_privileges": found.missing,
        "bytes": found.sizes,
    }


def dry_run(database: PostgresDatabase) -> str:
    """The script of the steps that are missing; "" if none is."""
    return script(_asked(database, _state, _LOOK_S))


def migrate(database: PostgresDatabase) -> tuple[SchemaState, SchemaState]:
    """Brings the schema up; returns how it was, and how it is."""

    async def migrated(connection: _Connection) -> tuple[SchemaState, SchemaState]:
        before = await _state(connection)
        # Nothing is asked of the role if there is nothing to do.
        if before.version >= len(STEPS):
            return before, before
        await schema.migrate(connection)
        return before, await _state(connection)

    return _asked(database, migrated)


def copy(file: SqliteFile, database: PostgresDatabase, progress: Progress) -> Copied:
    """Moves all that is in the file to the database."""

    async def copied(connection: _Connection) -> Copied:
        require_utf8(connection)
        return await store_copy.copy(file.path, connection, HostClock(), progress)

    return _asked(database, copied)


def copied_record(
    file: SqliteFile, database: PostgresDatabase, copied: Copied, seconds: float
) -> dict[str, Any]:
    """What was moved, from where to where, and in how many seconds, as a JSON object."""
    return {
        "from": file.told,
        "to": database.told,
        "rows": copied.rows,
        "running_leases": copied.running,
        "overdue_leases": copied.over,
        "next_fencing_token": copied.next_token,
        "replaced_characters": copied.replaced,
        "warnings": copied.warnings,
        "seconds": round(seconds, 3),
    }


def write_copied(
    on: "Screen", file: SqliteFile, database: PostgresDatabase, copied: Copied, seconds: float
) -> None:
    """What was moved, and what is to be done next."""
    on.line(f"{file.told} → {database.told}", "bold")
    on.table(
        ("table", ">rows, copied and compared"),
        ((name, f"{rows:,}") for name, rows in copied.rows.items()),
        total=("in all", f"{sum(copied.rows.values()):,}"),
    )
    replaced = f"{copied.replaced:,} characters U+0000 by U+FFFD, in reasons"
    on.facts(
        (
            ("leases", f"{copied.running:,} run on; {copied.over:,} had run out"),
            ("next fencing token", f"{copied.next_token:,}"),
            ("replaced", replaced if copied.replaced else ""),
            ("time", f"{seconds:.1f} s"),
        )
    )
    on.line(" All is committed. Start the service on the database.", "green")
    on.line(f" {file.told} is left as it was: start none on it any more.")


def steps(before: int, after: int) -> Iterator[str]:
    """What was made on the way from one version to another, a line a statement."""
    for version, step in enumerate(STEPS[before:after], start=before + 1):
        yield f"version {version}"
        for statement in step.statements:
            yield f"  {' '.join(statement.partition('(')[0].split())}"


async def _state(connection: _Connection) -> SchemaState:
    """The version of the schema, which is one that this service can work on or bring up."""
    require_utf8(connection)
    state = await schema.state_at(connection)
    if state.version >= len(STEPS) and (problem := state.problem()):
        raise StoreError(problem)
    return state


def _asked(
    database: PostgresDatabase,
    ask: Callable[[_Connection], Awaitable[_R]],
    timeout_s: float | None = None,
) -> _R:
    """What is answered on a connection of its own."""

    async def asked() -> _R:
        async with asyncio.timeout(timeout_s), _connected(database) as connection:
            return await ask(connection)

    with _told(database, timeout_s):
        return asyncio.run(asked())


@asynccontextmanager
async def _connected(database: PostgresDatabase) -> AsyncIterator[_Connection]:
    said = conninfo_to_dict(database.url)
    given: Any = {name: value for name, value in _PARAMETERS.items() if name not in said}
    async with await AsyncConnection.connect(
        database.url, autocommit=True, prepare_threshold=None, **given
    ) as connection:
        yield connection


@contextmanager
def _told(database: PostgresDatabase, timeout_s: float | None) -> Iterator[None]:
    """Tells what went wrong, and where."""
    try:
        yield
    except psycopg.Error as error:
        raise click.ClickException(f"{database.told}: {_words(database, error)}") from error
    except SourceError as error:
        raise click.ClickException(printable(str(error))) from error
    except StoreError as error:
        raise click.ClickException(f"{database.told}: {error}") from error
    except TimeoutError as error:
        raise click.ClickException(f"{database.told}: no answer within {timeout_s:g} s") from error


def _words(database: PostgresDatabase, error: psycopg.Error) -> str:
    """What a driver or a server says, in one line."""
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        # What libpq says of a URL may repeat any part of it.
        return "is not a URL that libpq takes"
    words = printable(" ".join((error.diag.message_primary or str(error)).split()))
    if isinstance(error, errors.InsufficientPrivilege):
        words += "; connect as the owner of the schema and its tables"
    return database.shown(words)
