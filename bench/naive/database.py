"""One SQLite connection, asked directly by who reads and under a lock by who writes."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from liquidation.rules.model import Decision, Liquidation, StoredState
from liquidation.store.base import BeginRequest, BeginResult, PutResult, StateQuery
from liquidation.store.sqlite import claims, liquidations
from liquidation.store.sqlite.clock import HostClock
from liquidation.store.sqlite.schema import migrate
from liquidation.store.sqlite.states import first_look

__all__ = ["Database"]


class Database:
    """The service's own tables and statements; every write is a commit of its own."""

    def __init__(self, path: Path) -> None:
        self._clock = HostClock()
        self._reading, self._writing = _connected(path), _connected(path)
        self._lock = threading.Lock()
        migrate(self._writing)

    def state(self, query: StateQuery) -> StoredState:
        # No claim was ever granted to a request without an id, so there is always a state.
        return first_look(self._reading, query, "", self._clock) or StoredState()

    def put(self, snapshots: Sequence[Liquidation]) -> list[PutResult]:
        with self._lock, self._writing:
            self._writing.execute("BEGIN IMMEDIATE")
            return liquidations.put(self._writing, snapshots, self._clock.wall_us())

    def begin(self, request: BeginRequest, judge: Callable[[StoredState], Decision]) -> BeginResult:
        with self._lock, self._writing:
            self._writing.execute("BEGIN IMMEDIATE")
            return claims.begin(self._writing, request, judge, self._clock)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
