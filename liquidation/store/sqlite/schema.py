"""The SQLite schema: numbered steps, forward only. `PRAGMA user_version` holds the last one done.

A step that is published is never edited; what changes later is a new step.
"""

import sqlite3
from pathlib import Path
from typing import Final

from liquidation.store.base import SchemaError
from liquidation.store.sqlite.connections import reading

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
    (
        # AUTOINCREMENT: a token is never given twice, not even after the newest row is purged.
        # lease_end_us is on the host's boot clock `lease_boot`, all other times are wall-clock.
        """
        CREATE TABLE claim (
            fencing_token  INTEGER PRIMARY KEY AUTOINCREMENT,
            claim_id       TEXT    NOT NULL UNIQUE,
            request_id     TEXT    NOT NULL UNIQUE,
            account_id     TEXT    NOT NULL,
            liquidation_id INTEGER NOT NULL,
            revision       INTEGER NOT NULL,
            terms          TEXT    NOT NULL,
            positions      TEXT    NOT NULL,
            decision       TEXT    NOT NULL,
            state          TEXT    NOT NULL
                CHECK (state IN ('ACTIVE', 'COMPLETED', 'CANCELLED', 'EXPIRED')),
            lease_boot     TEXT    NOT NULL,
            lease_us       INTEGER NOT NULL,
            lease_end_us   INTEGER NOT NULL,
            begin_us       INTEGER NOT NULL,
            expire_us      INTEGER NOT NULL,
            end_us         INTEGER,
            end_reason     TEXT    NOT NULL DEFAULT '',
            CHECK ((state = 'ACTIVE') = (end_us IS NULL))
        ) STRICT
        """,
        # The promise itself: at most one active claim an account.
        """
        CREATE UNIQUE INDEX claim_one_active_per_account ON claim (account_id)
            WHERE state = 'ACTIVE'
        """,
        "CREATE INDEX claim_active_by_lease ON claim (lease_end_us) WHERE state = 'ACTIVE'",
        "CREATE INDEX claim_by_account ON claim (account_id, fencing_token)",
        "CREATE INDEX claim_by_liquidation ON claim (liquidation_id, fencing_token)",
        "CREATE INDEX claim_ended ON claim (end_us) WHERE end_us IS NOT NULL",
        """
        CREATE TABLE claim_event (
            event_id      INTEGER PRIMARY KEY,
            fencing_token INTEGER NOT NULL REFERENCES claim ON DELETE CASCADE,
            change        TEXT    NOT NULL,
            time_us       INTEGER NOT NULL,
            expire_us     INTEGER NOT NULL,
            reason        TEXT    NOT NULL,
            forced        INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX claim_event_by_claim ON claim_event (fencing_token, event_id)",
        # What was completed on an account outlives the claim itself.
        """
        CREATE TABLE settled (
            account_id TEXT    PRIMARY KEY,
            revision   INTEGER NOT NULL
        ) STRICT
        """,
    ),
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
