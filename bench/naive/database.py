"""One SQLite connection, asked directly by who reads and under a lock by who writes."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from liquidation.core.model import Liquidation, Standing, Verdict
from liquidation.store import sqlite_claims, sqlite_liquidations
from liquidation.store.base import BeginRequest, Begun, PutResult, StandingQuery
from liquidation.store.clock import HostClock
from liquidation.store.sqlite_schema import migrate
from liquidation.store.sqlite_standings import first_look

__all__ = ["Database"]


class Database:
    """The service's own tables and statements; every write is a commit of its own."""

    def __init__(self, path: Path) -> None:
        self._clock = HostClock()
        self._reading, self._writing = _connected(path), _connected(path)
        self._lock = threading.Lock()
        migrate(self._writing)

    def standing(self, query: StandingQuery) -> Standing:
        # No claim was ever granted to a request without an id, so there is always a standing.
        return first_look(self._reading, query, "", self._clock) or Standing()

    def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        with self._lock, self._writing:
            self._writing.execute("BEGIN IMMEDIATE")
            return sqlite_liquidations.put(self._writing, liquidations, self._clock.wall_us())

    def begin(self, request: BeginRequest, judge: Callable[[Standing], Verdict]) -> Begun:
        with self._lock, self._writing:
            self._writing.execute("BEGIN IMMEDIATE")
            return sqlite_claims.begin(self._writing, request, judge, self._clock)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
