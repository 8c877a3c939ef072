"""`liquidation db`: the schema of a store, how the store stands, and its move to PostgreSQL."""

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import click

from liquidation.cli.options import format_option, moment, reported, screen, write_json
from liquidation.config.settings import parse_store
from liquidation.store.base import StoreError, StoreStats
from liquidation.store.locations import PostgresDatabase, SqliteFile, StoreLocation, require_driver
from liquidation.store.sqlite import schema
from liquidation.store.sqlite.connections import HostClock
from liquidation.store.sqlite.schema import FileStatus, look
from liquidation.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    # They need the extras `cli` and `postgres`.
    from liquidation.cli.table import Screen
    from liquidation.store.copy import Copied
    from liquidation.store.postgres.schema import DatabaseStatus

_VARIABLE: Final = "LIQUIDATION_STORE"
_URL: Final = "postgresql://URL"
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")

_store_option: Final = click.option(
    "--store",
    metavar=f"sqlite:PATH|{_URL}",
    envvar=_VARIABLE,
    show_envvar=True,
    required=True,
    callback=parse_store,
    help="Where it is. A password is better given in PGPASSWORD or the file of PGPASSFILE.",
)


@click.group(short_help="The store: bring its schema up, look at it, move it.")
def db() -> None:
    """The store itself: its schema, how it stands, and the move from SQLite to PostgreSQL.

    \b
    Example:
      liquidation db status --store postgresql://liquidation@db.example/liquidation
    """


@db.command(short_help="Bring the schema to the newest version.")
@_store_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Change nothing: print the missing steps as SQL, to be run by hand.",
)
def migrate(store: StoreLocation, *, dry_run: bool) -> None:
    """Bring the schema to the newest version that this service knows.

    All missing steps are one transaction. It may be done again, and by several at once. Services of
    the version before can work on, unless `status` says otherwise. It needs the role that owns the
    schema, which the service itself need not be.

    \b
    Examples:
      liquidation db migrate --store postgresql://liquidation_owner@db.example/liquidation
      liquidation db migrate --store sqlite:liquidation.db
      liquidation db migrate --store postgresql://reader@db.example/liquidation --dry-run

    \b
    Exit status:
      0  the schema is one that this service can work on
      1  it is not: the store cannot be reached, the role may not, or a newer service made it
      2  the command was not used as it is meant to be
    """
    if isinstance(store, SqliteFile):
        _migrate_file(store, dry_run=dry_run)
    else:
        _migrate_database(store, dry_run=dry_run)


def _migrate_file(file: SqliteFile, *, dry_run: bool) -> None:
    found = _file_status(file)
    if found.version > schema.NEWEST:
        raise click.ClickException(f"{file.told}: {found.problems[-1]}")
    if dry_run:
        click.echo(f"-- {file.told}: schema version {found.version}.")
        click.echo("-- Every start of a service brings it to the newest; nothing is run by hand.")
        return
    with reported(file.told, sqlite3.Error, StoreError):
        SqliteStore(file.path, HostClock()).close()
    click.echo(f"{file.told}: {_brought(found.version, schema.NEWEST)}")


def _file_status(file: SqliteFile) -> FileStatus:
    with reported(file.told, sqlite3.Error, StoreError):
        return look(file.path, HostClock())


def _migrate_database(database: PostgresDatabase, *, dry_run: bool) -> None:
    postgres = _postgres()
    if dry_run:
        missing: str = postgres.dry_run(database)
        click.echo(missing or "-- No step is missing.", nl=not missing)
        return
    before, after = postgres.migrate(database)
    for told in postgres.steps(before.version, after.version):
        click.echo(told)
    click.echo(f"{database.told}: {_brought(before.version, after.version)}")


def _brought(before: int, after: int) -> str:
    if before == after:
        return f"the schema is at version {after}; there was nothing to do"
    return f"the schema is at version {after}; it was at {before}"


@db.command(short_help="How the store stands, and whether a service can work on it.")
@_store_option
@format_option("json", help_="For people, or for programs: one JSON object.")
def status(store: StoreLocation, form: str) -> None:
    """How the store stands, and whether this version of the service can work on it as this role.

    Nothing is changed, and no password is shown.

    \b
    Examples:
      liquidation db status --store postgresql://liquidation@db.example/liquidation
      liquidation db status --store sqlite:liquidation.db --format json

    \b
    Exit status:
      0  the service can work on it
      1  it cannot, or the store cannot be reached
      2  the command was not used as it is meant to be
    """
    on = None if form == "json" else screen()
    found: FileStatus | DatabaseStatus
    found = _file_status(store) if isinstance(store, SqliteFile) else _postgres().status(store)
    if on is None:
        write_json(_status_record(store, found))
    else:
        _write_status(on, store, found)
    sys.exit(bool(found.problems))


def _status_record(store: StoreLocation, found: "FileStatus | DatabaseStatus") -> dict[str, Any]:
    """How a store stands; the first keys are those of every engine."""
    holds = None
    if found.holds is not None:
        ended = found.holds.oldest_end
        oldest = None if ended is None else ended.astimezone(UTC)
        holds = asdict(found.holds) | {"oldest_end": oldest}
    record: dict[str, Any] = {
        "store": store.told,
        "works": not found.problems,
        "problems": found.problems,
        "notes": found.notes,
        "next_start_migrates": found.migrates,
        "holds": holds,
    }
    if not isinstance(found, FileStatus):
        more: dict[str, Any] = _postgres().status_record(found)
        return record | more
    return record | {
        "schema": {"version": found.version, "newest_known": schema.NEWEST},
        "exists": found.exists,
        "writable": found.writable,
        "bytes": {"file": found.size, "write_ahead_log": found.log_size},
    }


def _write_status(on: "Screen", store: StoreLocation, found: "FileStatus | DatabaseStatus") -> None:
    """How a store stands: what it is, what it holds, and what is to be said of that."""
    on.line(store.told, "bold")
    if isinstance(found, FileStatus):
        on.facts(_of_file(found))
    else:
        on.facts(_of_database(found))
    for problem in found.problems:
        on.line(f" wrong  {problem}", "red")
    for note in found.notes:
        on.line(f" note   {note}", "yellow")
    if found.problems:
        on.line(" The service cannot work on it.", "red")
    else:
        on.line(" The service can work on it.", "green")


def _of_file(found: FileStatus) -> Iterator[tuple[str, str]]:
    if not found.exists:
        yield "file", "is not there yet" + ("; a start makes it" if found.writable else "")
        return
    yield "file", f"{_size(found.size)}, and {_size(found.log_size)} of write-ahead log"
    yield "schema", _schema(found.version, schema.NEWEST, migrates=found.migrates)
    yield from _holdings(found.holds)


def _of_database(found: "DatabaseStatus") -> Iterator[tuple[str, str]]:
    newest = _postgres().NEWEST
    server, state = found.server, found.state
    role = "standby" if server.standby else "primary"
    yield "server", f"PostgreSQL {server.version} at {found.address}, {role}"
    where = f"schema {server.schema}" if server.schema else "no schema of the search_path is there"
    yield "database", f"{server.database}, {where}, as role {server.user}"
    told = _schema(state.version, newest, migrates=found.migrates)
    oldest = f"\nservices that know version {state.oldest_service} or a newer one can use it"
    yield "schema", told + (oldest if state.version else "")
    yield "commits", _commits(found)
    if found.uncounted:
        yield "rows", f"not counted: {found.uncounted}"
    yield from _holdings(found.holds)
    yield "tables", "\n".join(f"{name} {_size(size)}" for name, size in found.sizes.items())


def _commits(found: "DatabaseStatus") -> str:
    server = found.server
    lines = [f"synchronous_commit {server.synchronous_commit}"]
    names = server.synchronous_standby_names
    lines.append(f"synchronous_standby_names {names}" if names else "no synchronous standby")
    for each in found.standbys:
        unseen = "a member of pg_monitor sees its state"
        state = f"{each.state}, {each.sync_state}" if each.state else unseen
        lines.append(f"standby {each.name or 'without a name'}: {state}")
    return "\n".join(lines)


def _schema(version: int, newest: int, *, migrates: bool) -> str:
    if version == newest:
        return f"version {version}, the newest known here"
    told = f"version {version}, {newest} is the newest known here" if version else "none yet"
    return f"{told}; a start makes it {newest}" if migrates else told


def _holdings(holds: StoreStats | None) -> Iterator[tuple[str, str]]:
    if holds is None:
        return
    yield "liquidations", f"{holds.open_liquidations:,} open, {holds.closed_liquidations:,} closed"
    over = f", {holds.overdue:,} whose lease ran out" if holds.overdue else ""
    ended = f"{holds.completed:,} completed, {holds.cancelled:,} cancelled"
    yield "claims", f"{holds.active:,} active{over}\n{ended}, {holds.expired:,} expired"
    oldest = holds.oldest_end
    yield "first to be purged", "none" if oldest is None else f"ended {moment(oldest)} UTC"


def _size(size: int) -> str:
    """A number of bytes as people read it, such as "1.5 MiB"."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit + 1 < len(_UNITS):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} bytes"


def _from(context: click.Context, parameter: click.Parameter, text: str) -> SqliteFile:
    found = parse_store(context, parameter, text)
    if not isinstance(found, SqliteFile):
        raise click.BadParameter("only a SQLite file is copied from: sqlite:PATH")
    return found


def _to(context: click.Context, parameter: click.Parameter, text: str) -> PostgresDatabase:
    found = parse_store(context, parameter, text)
    if not isinstance(found, PostgresDatabase):
        raise click.BadParameter(f"only a PostgreSQL database is copied to: {_URL}")
    return found


@db.command(short_help="Move everything from a SQLite file to a PostgreSQL database.")
@click.option(
    "--from",
    "file",
    metavar="sqlite:PATH",
    required=True,
    callback=_from,
    help="The file. Nobody may have it open: stop the service first.",
)
@click.option(
    "--to",
    "database",
    metavar=_URL,
    envvar=_VARIABLE,
    show_envvar=True,
    required=True,
    callback=_to,
    help="The database, by the role that owns its tables. They are there, and empty.",
)
@format_option("json", help_="For people, or for programs: one JSON object.")
def copy(file: SqliteFile, database: PostgresDatabase, form: str) -> None:
    """Move everything from a SQLite file to a PostgreSQL database: liquidations, claims, history.

    It is one transaction: all of it is in the database at the end, compared row by row, or nothing.
    The file is left as it is. What is left of a lease runs on by the clock of the server, fencing
    tokens stay, and new ones are above every one that was ever given.

    Stop every service that uses the file before, and start none on it after.

    \b
    Example:
      liquidation db migrate --store postgresql://liquidation_owner@db.example/liquidation
      liquidation db copy --from sqlite:liquidation.db \\
          --to postgresql://liquidation_owner@db.example/liquidation

    \b
    Exit status:
      0  all is in the database
      1  nothing was copied, and standard error says why; or it says that this is not known
      2  the command was not used as it is meant to be
    """
    on = None if form == "json" else screen()
    postgres = _postgres()
    begun = time.monotonic()
    with ExitStack() as shown:
        progress = lambda *_: None  # noqa: E731 - nobody looks at it
        if on is not None and sys.stderr.isatty():
            from liquidation.cli.table import RowsDone  # noqa: PLC0415 - it needs rich

            progress = shown.enter_context(RowsDone())
        copied: Copied = postgres.copy(file, database, progress)
    seconds = time.monotonic() - begun
    for warning in copied.warnings:
        click.echo(f"Warning: the server says: {warning}", err=True)
    if on is None:
        write_json(postgres.copied_record(file, database, copied, seconds))
    else:
        postgres.write_copied(on, file, database, copied, seconds)


def _postgres() -> ModuleType:
    """What needs the driver of PostgreSQL, which not every installation has."""
    try:
        require_driver()
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    from liquidation.cli import db_postgres  # noqa: PLC0415 - as the docstring says

    return db_postgres
