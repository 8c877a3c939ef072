"""`liquidation db`: the schema of a store, how the store stands, and its move to PostgreSQL."""

import sys
import time
from contextlib import ExitStack
from types import ModuleType
from typing import Any, Final

import click
import orjson

from liquidation.cli import db_sqlite
from liquidation.cli.db_records import copied_record, status_record
from liquidation.cli.options import format_option, screen
from liquidation.config.settings import forms
from liquidation.store.base import StoreError
from liquidation.store.locations import PostgresDatabase, SqliteFile, StoreLocation
from liquidation.store.opening import require_driver

__all__ = ["db"]

_VARIABLE: Final = "LIQUIDATION_STORE"
_URL: Final = "postgresql://URL"

_store_option: Final = click.option(
    "--store",
    metavar=f"sqlite:PATH|{_URL}",
    envvar=_VARIABLE,
    show_envvar=True,
    required=True,
    callback=forms.store,
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
    if dry_run:
        click.echo(f"-- {file.told}: schema version {db_sqlite.version(file)}.")
        click.echo("-- Every start of a service brings it to the newest; nothing is run by hand.")
        return
    before, after = db_sqlite.migrate(file)
    click.echo(f"{file.told}: {_brought(before, after)}")


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
    draw = None if form == "json" else _screen()
    found = db_sqlite.status(store) if isinstance(store, SqliteFile) else _postgres().status(store)
    if draw is None:
        _write_json(status_record(store, found))
    else:
        draw.write_status(store, found)
    sys.exit(bool(found.problems))


def _from(context: click.Context, parameter: click.Parameter, text: str) -> SqliteFile:
    found = forms.store(context, parameter, text)
    if not isinstance(found, SqliteFile):
        raise click.BadParameter("only a SQLite file is copied from: sqlite:PATH")
    return found


def _to(context: click.Context, parameter: click.Parameter, text: str) -> PostgresDatabase:
    found = forms.store(context, parameter, text)
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
    draw = None if form == "json" else _screen()
    postgres = _postgres()
    begun = time.monotonic()
    with ExitStack() as shown:
        progress = _progress(shown, draw)
        copied = postgres.copy(file, database, progress)
    seconds = time.monotonic() - begun
    for warning in copied.warnings:
        click.echo(f"Warning: the server says: {warning}", err=True)
    if draw is None:
        _write_json(copied_record(file, database, copied, seconds))
    else:
        draw.write_copied(file, database, copied, seconds)


def _progress(shown: ExitStack, draw: ModuleType | None) -> Any:
    """Shows how far it is, where somebody looks at standard error."""
    if draw is None or not sys.stderr.isatty():
        return lambda *_: None
    return shown.enter_context(draw.Progress())


def _postgres() -> ModuleType:
    """What needs the driver of PostgreSQL, which not every installation has."""
    try:
        require_driver()
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    from liquidation.cli import db_postgres  # noqa: PLC0415 - as the docstring says

    return db_postgres


def _screen() -> ModuleType:
    screen()  # says what to install where the tables cannot be drawn
    from liquidation.cli import db_screen  # noqa: PLC0415 - needs rich

    return db_screen


def _write_json(record: dict[str, Any]) -> None:
    click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2))
