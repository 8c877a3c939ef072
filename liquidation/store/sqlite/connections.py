"""Connections to the store's SQLite file, and reads on one that several threads share."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from liquidation.store.base import Done, StoreUnavailableError

__all__ = ["Reader", "cannot_read", "connect", "connect_to_read"]

_R = TypeVar("_R")

# How long one process waits for another's lock on the file, in seconds.
_BUSY_S: Final = 1.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any thread by one at a time.

    Raises:
        sqlite3.Error: the file cannot be used.
    """
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose the last commits when power fails; FULL syncs each of them.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """As `connect`, for reads alone.

    Raises:
        sqlite3.Error: the file cannot be used.
    """
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def cannot_read(error: sqlite3.Error) -> StoreUnavailableError:
    """What a caller is told when SQLite cannot read."""
    told = StoreUnavailableError(f"cannot read: {error}")
    told.__cause__ = error
    return told


class Reader:
    """Reads on one connection, for threads that may wait for each other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes `connection` over, which is in autocommit mode."""
        self._connection = connection
        self._lock = threading.Lock()

    def read(self, work: Callable[[sqlite3.Connection], _R], done: Done[_R]) -> None:
        """Tells `done` what `work` returns; all that it reads was true at the same time."""
        outcome: _R | Exception
        try:
            with self._lock:
                outcome = self._at_one_moment(work)
        except sqlite3.Error as error:
            outcome = cannot_read(error)
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            outcome = error
        done(outcome)

    def _at_one_moment(self, work: Callable[[sqlite3.Connection], _R]) -> _R:
        self._connection.execute("BEGIN")
        try:
            return work(self._connection)
        finally:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Waits for a read under way, and closes the connection."""
        with self._lock:
            self._connection.close()
