"""What `liquidation db` does with a SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import click

from liquidation.cli.texts import printable
from liquidation.store.base import StoreError
from liquidation.store.locations import SqliteFile
from liquidation.store.sqlite.clock import HostClock
from liquidation.store.sqlite.schema import NEWEST
from liquidation.store.sqlite.status import FileStatus, look
from liquidation.store.sqlite.store import SqliteStore

__all__ = ["migrate", "status", "version"]


def status(file: SqliteFile) -> FileStatus:
    """How the file stands."""
    with _told(file):
        return look(file.path, HostClock())


def version(file: SqliteFile) -> int:
    """The version of the schema, which is not above the one that this service knows."""
    found = status(file)
    if found.version > NEWEST:
        raise click.ClickException(f"{file.told}: {found.problems[-1]}")
    return found.version


def migrate(file: SqliteFile) -> tuple[int, int]:
    """Brings the schema up, as the start of a service does; returns how it was, and how it is."""
    before = version(file)
    with _told(file):
        _open(file)
    return before, NEWEST


def _open(file: SqliteFile) -> None:
    SqliteStore(file.path, HostClock()).close()


@contextmanager
def _told(file: SqliteFile) -> Iterator[None]:
    """Tells what went wrong, and where."""
    try:
        yield
    except (sqlite3.Error, StoreError) as error:
        raise click.ClickException(printable(f"{file.told}: {error}")) from error
