"""The SQLite schema in numbered steps, and the status of a file.

`PRAGMA user_version` holds the last step done.

A step that is published is never edited; what changes later is a new step.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from liquidation.store.base import SchemaError, StoreStats
from liquidation.store.records import moment, statements_of
from liquidation.store.sqlite import SQL
from liquidation.store.sqlite.connections import StoreClock, reading
from liquidation.store.sqlite.rows import now

_STEPS: Final = tuple(
    statements_of("liquidation.store.sqlite", f"migrations/{number}.sql") for number in (1, 2)
)

# The version that this service makes of every file.
NEWEST: Final = len(_STEPS)


def version_at(path: Path) -> int | None:
    """The version of the schema in the file at `path`; None if it holds another program's tables.

    Nothing is created or written, whoever uses the file meanwhile.

    Raises:
        sqlite3.Error: the file is not there, cannot be read, or is no database.
    """
    with reading(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return None if version == 0 and tables else int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the schema to the newest version; several processes may do it at once.

    Raises:
        SchemaError: the file was written by a newer version of this service.
        sqlite3.Error: the file cannot be used.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > NEWEST:
            raise SchemaError(
                f"the database has schema version {version}, this service knows {NEWEST}: "
                "it was written by a newer version"
            )
        for number, step in enumerate(_STEPS[version:], start=version + 1):
            for statement in step:
                connection.execute(statement)
            # A pragma takes no parameters; the number is our own.
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file, `version` of whose schema is 0 if there is nothing of the service in it.

    `holds` is None if its tables are not those of this service's version. `size` is that of the
    file and `log_size` that of the write-ahead log beside it, in bytes.
    """

    exists: bool
    writable: bool
    version: int
    size: int = 0
    log_size: int = 0
    holds: StoreStats | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps a service of this version and this user from its work."""
        found = []
        if not self.writable and self.exists:
            found.append("this user may not write to it")
        elif not self.writable:
            found.append("it is not there, and this user may not make it")
        if self.version > NEWEST:
            found.append(
                f"it has schema version {self.version}, this service knows {NEWEST}: it was"
                " written by a newer version"
            )
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its owner should know, though the service works."""
        return ()

    @property
    def migrates(self) -> bool:
        """Whether the start of a service brings the schema to the version that it needs."""
        return self.version < NEWEST


def look(path: Path, clock: StoreClock) -> FileStatus:
    """Looks at the file at `path`, by the clock that it is used with.

    Raises:
        sqlite3.Error: it cannot be read, or is no database.
    """
    if not path.exists():
        return FileStatus(exists=False, writable=os.access(path.parent, os.W_OK), version=0)
    version = version_at(path) or 0
    log = path.with_name(f"{path.name}-wal")
    return FileStatus(
        exists=True,
        writable=os.access(path, os.W_OK),
        version=version,
        size=path.stat().st_size,
        log_size=log.stat().st_size if log.exists() else 0,
        holds=_stats(path, clock) if version == NEWEST else None,
    )


def _stats(path: Path, clock: StoreClock) -> StoreStats:
    with reading(path) as connection:
        row: tuple[Any, ...] = connection.execute(SQL["stats"], now(clock)).fetchone()
    *counts, oldest_us = row
    oldest_end = None if oldest_us is None else moment(oldest_us)
    return StoreStats(*(*counts, oldest_end))
