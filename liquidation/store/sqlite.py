"""The embedded store: one SQLite file in WAL mode, every commit synced to disk.

Reads run on the caller's event loop: in WAL mode a reader waits for no writer, and a look-up by
key takes some ten microseconds, less than a hop to another thread. Writes run on the one thread of
`GroupCommit`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from liquidation.core.model import Liquidation, Standing
from liquidation.core.record import liquidation_from_record, liquidation_record
from liquidation.store.base import (
    AccountMismatchError,
    Page,
    PutResult,
    StandingQuery,
    StoreUnavailableError,
)
from liquidation.store.group_commit import GroupCommit, Job
from liquidation.store.sqlite_schema import migrate

__all__ = ["SqliteStore"]

# How long one process waits for another's lock on the file, in seconds.
_BUSY_S: Final = 1.0
# How long a caller waits for a write, in seconds; then it is told that the store did not answer.
_WRITE_S: Final = 2.0

_STANDING: Final = """
    SELECT found.closed_us IS NOT NULL, found.snapshot,
           EXISTS (SELECT 1 FROM liquidation AS own
                   WHERE own.account_id = :liquidator_id AND own.closed_us IS NULL)
    FROM (SELECT 1) LEFT JOIN liquidation AS found ON found.liquidation_id = :liquidation_id
"""
_OPEN: Final = """
    INSERT INTO liquidation (liquidation_id, account_id, revision, snapshot, opened_us)
    VALUES (:liquidation_id, :account_id, :revision, :snapshot, :now)
    ON CONFLICT (liquidation_id) DO NOTHING
"""
_REFRESH: Final = """
    UPDATE liquidation SET revision = :revision, snapshot = :snapshot
    WHERE liquidation_id = :liquidation_id AND account_id = :account_id
      AND closed_us IS NULL AND revision < :revision
"""
_STORED: Final = """
    SELECT account_id, snapshot, closed_us IS NOT NULL FROM liquidation
    WHERE liquidation_id = :liquidation_id
"""
_GET: Final = "SELECT snapshot FROM liquidation WHERE liquidation_id = ? AND closed_us IS NULL"
_PAGE: Final = """
    SELECT snapshot FROM liquidation
    WHERE closed_us IS NULL AND liquidation_id > :after
    ORDER BY liquidation_id LIMIT :size
"""
_PAGE_OF_ACCOUNT: Final = """
    SELECT snapshot FROM liquidation
    WHERE closed_us IS NULL AND account_id = :account_id AND liquidation_id > :after
    ORDER BY liquidation_id LIMIT :size
"""
_CLOSE: Final = """
    UPDATE liquidation SET closed_us = :now
    WHERE liquidation_id = :liquidation_id AND closed_us IS NULL
    RETURNING snapshot
"""


class SqliteStore:
    """A `Store` in one SQLite file, created on first use."""

    def __init__(self, path: Path, clock_us: Callable[[], int]) -> None:
        """Opens the file at `path`. `clock_us` gives microseconds since the Unix epoch.

        Raises:
            StoreUnavailableError: the file cannot be opened or written.
            SchemaError: it was written by a newer version of this service.
        """
        self._clock_us = clock_us
        try:
            writing = _connect(path)
            migrate(writing)
            self._reading = _connect(path)
            self._reading.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"cannot open the SQLite file {path}: {error}") from error
        self._writer = GroupCommit(writing)

    async def standings(self, queries: Sequence[StandingQuery]) -> list[Standing]:
        with self._one_moment() as connection:
            return [_standing(connection, query) for query in queries]

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        now = self._clock_us()
        rows = [
            {
                "liquidation_id": each.liquidation_id,
                "account_id": each.account_id,
                "revision": each.revision,
                "snapshot": orjson.dumps(liquidation_record(each)).decode(),
                "now": now,
            }
            for each in liquidations
        ]

        def put_all(connection: sqlite3.Connection) -> list[PutResult]:
            return [
                _put(connection, index, row, each)
                for index, (row, each) in enumerate(zip(rows, liquidations, strict=True))
            ]

        results: list[PutResult] = await self._write(put_all)
        return results

    async def get(self, liquidation_id: int) -> Liquidation | None:
        with self._one_moment() as connection:
            row = connection.execute(_GET, (liquidation_id,)).fetchone()
        return None if row is None else _liquidation(row[0])

    async def page(self, account_id: str, after: int, size: int) -> Page:
        with self._one_moment() as connection:
            rows = connection.execute(
                _PAGE_OF_ACCOUNT if account_id else _PAGE,
                {"account_id": account_id, "after": after, "size": size + 1},
            ).fetchall()
        found = [_liquidation(snapshot) for (snapshot,) in rows[:size]]
        return Page(found, found[-1].liquidation_id if len(rows) > size else None)

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        now = self._clock_us()

        def close(connection: sqlite3.Connection) -> Liquidation | None:
            row = connection.execute(
                _CLOSE, {"liquidation_id": liquidation_id, "now": now}
            ).fetchone()
            return None if row is None else _liquidation(row[0])

        closed: Liquidation | None = await self._write(close)
        return closed

    async def probe(self) -> None:
        with self._one_moment() as connection:
            connection.execute("SELECT count(*) FROM liquidation WHERE liquidation_id = 0")

    async def aclose(self) -> None:
        await asyncio.to_thread(self._writer.close)
        self._reading.close()

    async def _write(self, job: Job) -> Any:
        # The job goes on when the caller is gone or waits no longer: whether it is on disk is then
        # unknown to the caller, which is what StoreUnavailableError says.
        done = asyncio.wrap_future(self._writer.submit(job))
        try:
            async with asyncio.timeout(_WRITE_S):
                return await asyncio.shield(done)
        except TimeoutError as error:
            # Nobody is left to look at what becomes of it.
            done.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StoreUnavailableError(f"no commit within {_WRITE_S:g} s") from error

    @contextmanager
    def _one_moment(self) -> Iterator[sqlite3.Connection]:
        """One read transaction: all that is read in it was true at the same time."""
        try:
            self._reading.execute("BEGIN")
            try:
                yield self._reading
            finally:
                self._reading.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"cannot read: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would lose the last commits when power fails; FULL syncs each of them.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _standing(connection: sqlite3.Connection, query: StandingQuery) -> Standing:
    closed, snapshot, liquidator_in_liquidation = connection.execute(
        _STANDING,
        {"liquidation_id": query.liquidation_id, "liquidator_id": query.liquidator_id},
    ).fetchone()
    return Standing(
        liquidation=None if snapshot is None else _liquidation(snapshot),
        closed=bool(closed),
        liquidator_in_liquidation=bool(liquidator_in_liquidation),
    )


def _put(
    connection: sqlite3.Connection, index: int, row: dict[str, Any], sent: Liquidation
) -> PutResult:
    if connection.execute(_OPEN, row).rowcount == 1:
        return PutResult(sent, applied=True, opened=True)
    if connection.execute(_REFRESH, row).rowcount == 1:
        return PutResult(sent, applied=True)
    account_id, snapshot, closed = connection.execute(_STORED, row).fetchone()
    if account_id != row["account_id"]:
        raise AccountMismatchError(index)
    return PutResult(_liquidation(snapshot), applied=False, closed=bool(closed))


def _liquidation(snapshot: str) -> Liquidation:
    return liquidation_from_record(orjson.loads(snapshot))
