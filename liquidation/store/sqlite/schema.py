"""The SQLite schema: numbered steps, forward only. `PRAGMA user_version` holds the last one done.

A step that is published is never edited; what changes later is a new step.
"""

import sqlite3
from pathlib import Path
from typing import Final

from liquidation.store.base import SchemaError
from liquidation.store.sql import statements_of
from liquidation.store.sqlite.connections import reading

_STEPS: Final = tuple(
    statements_of("liquidation.store.sqlite", f"migrations/{number}.sql") for number in (1, 2)
)

# The version that this service makes of every file.
NEWEST: Final = len(_STEPS)


def version_at(path: Path) -> int | None:
    """The version of the schema in the file at `path`; None where another program's tables are.

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
