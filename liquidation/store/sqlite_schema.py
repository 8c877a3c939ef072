"""The SQLite schema: numbered steps, forward only. `PRAGMA user_version` holds the last one done.

A step that is published is never edited; what changes later is a new step.
"""

import sqlite3
from typing import Final

from liquidation.store.base import SchemaError

__all__ = ["migrate"]

_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE liquidation (
            liquidation_id INTEGER PRIMARY KEY,
            account_id     TEXT    NOT NULL,
            revision       INTEGER NOT NULL CHECK (revision >= 1),
            snapshot       TEXT    NOT NULL,
            opened_us      INTEGER NOT NULL,
            closed_us      INTEGER
        ) STRICT
        """,
        # Finds the open liquidations of an account, by id, without looking at those that ended.
        """
        CREATE INDEX liquidation_open_by_account ON liquidation (account_id, liquidation_id)
            WHERE closed_us IS NULL
        """,
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the schema to the newest version; several processes may do it at once.

    Raises:
        SchemaError: the file was written by a newer version of this service.
        sqlite3.Error: the file cannot be used.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(_STEPS):
            raise SchemaError(
                f"the database has schema version {version}, this service knows {len(_STEPS)}: "
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
