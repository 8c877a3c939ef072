"""A SQLite store as it is read to be moved to a PostgreSQL database: every row, in its form there.

The file is this process's alone meanwhile: a service that has it open is noticed, though it does
nothing, and none can open it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from liquidation.store.base import StoreError
from liquidation.store.records import moment
from liquidation.store.sqlite import SQL
from liquidation.store.sqlite.connections import StoreClock
from liquidation.store.sqlite.rows import now
from liquidation.store.sqlite.schema import NEWEST

Row = tuple[Any, ...]

# How long another process's lock on the file is waited for, in seconds.
_BUSY_S: Final = 1.0


class SourceError(StoreError):
    """The file cannot be moved; the text names it, and says why."""


class InUseError(SourceError):
    """Another program has the file open."""


@contextmanager
def alone(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file at `path`, which nobody else has open or can open meanwhile.

    Raises:
        InUseError: another program has it open.
        SourceError: it is not there, cannot be read or locked, is no database, or its schema is
            not the one of this service.
    """
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
    try:
        with closing(
            sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        ) as connection:
            # Whoever has a file in WAL mode open holds a lock on it for as long. This connection
            # takes that lock for itself, or fails.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN IMMEDIATE")
            _require_schema(path, connection)
            yield connection
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY":
            raise InUseError(
                f"{path}: another program has it open: stop the service that uses it"
            ) from error
        raise SourceError(f"{path}: {error}") from error


def _require_schema(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != NEWEST:
        raise SourceError(
            f"{path}: has schema version {version}, this service needs {NEWEST}"
            + ("" if version > NEWEST else ": run `liquidation db migrate` on it")
        )


class Source:
    """The rows of a SQLite store as PostgreSQL is to have them, each table by its key.

    Leases are those of the moment at which this is made. `replaced` counts the characters U+0000
    met in texts so far; PostgreSQL has no place for them.
    """

    def __init__(self, connection: sqlite3.Connection, clock: StoreClock) -> None:
        """Reads on `connection`, which is `alone`, by the clock that the store is used with."""
        self._connection = connection
        self._moment = now(clock)
        self.replaced = 0

    def next_token(self) -> int:
        """The lowest fencing token above every one that was ever given."""
        (highest,) = self._connection.execute(SQL["highest_token"]).fetchone()
        return int(highest) + 1

    def next_event(self) -> int:
        """The lowest id above those of all events."""
        (highest,) = self._connection.execute("SELECT max(event_id) FROM claim_event").fetchone()
        return int(highest or 0) + 1

    def leases(self) -> tuple[int, int]:
        """How many leases run, and how many ran out without being written down."""
        running, over = self._connection.execute(SQL["source_leases"], self._moment).fetchone()
        return running or 0, over or 0

    def accounts(self) -> Iterator[Row]:
        """Every account that something is stored of, and the revision that is settled on it."""
        yield from self._connection.execute(SQL["source_accounts"])

    def liquidations(self) -> Iterator[Row]:
        """Those that are open, and those that are closed."""
        for *stored, opened_us, closed_us in self._connection.execute(SQL["source_liquidations"]):
            yield (*stored, moment(opened_us), _moment_or_none(closed_us))

    def claims(self, server_now_us: int) -> Iterator[Row]:
        """Claims in every state.

        What is left of a lease is counted from `server_now_us`, the server's time at the moment at
        which this was made. One that has run out has run out there too.
        """
        for *stored, begin_us, expire_us, end_us, reason, left_us in self._connection.execute(
            SQL["source_claims"], self._moment
        ):
            end = expire_us
            if left_us is not None:
                end = server_now_us + left_us if left_us > 0 else min(expire_us, server_now_us)
            times = (moment(begin_us), moment(end), _moment_or_none(end_us))
            yield (*stored, *times, self._text(reason))

    def events(self) -> Iterator[Row]:
        """What happened to the claims."""
        for *stored, time_us, expire_us, reason, forced in self._connection.execute(
            SQL["source_events"]
        ):
            yield (*stored, moment(time_us), moment(expire_us), self._text(reason), bool(forced))

    def _text(self, text: str) -> str:
        self.replaced += text.count("\0")
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _moment_or_none(wall_us: int | None) -> datetime | None:
    return None if wall_us is None else moment(wall_us)
