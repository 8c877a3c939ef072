"""The embedded store: one SQLite file in WAL mode, every commit synced to disk.

Reads run on the caller's event loop: in WAL mode a reader waits for no writer, and a look-up by
key takes some ten microseconds, less than a hop to another thread. Writes run on the one thread of
`GroupCommit`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from liquidation.core.model import (
    Claim,
    ClaimEvent,
    ClaimState,
    Liquidation,
    Standing,
    Verdict,
)
from liquidation.core.record import liquidation_from_record, liquidation_record
from liquidation.store import sqlite_claims
from liquidation.store.base import (
    AccountMismatchError,
    BeginRequest,
    Begun,
    Changed,
    ClaimActiveError,
    ClaimFilter,
    ClaimPage,
    Page,
    PutResult,
    StandingQuery,
    StoreUnavailableError,
)
from liquidation.store.clock import StoreClock
from liquidation.store.group_commit import MAX_GROUP, GroupCommit, Job, Turnstile
from liquidation.store.sqlite_schema import migrate

__all__ = ["SqliteStore"]

# How long one process waits for another's lock on the file, in seconds.
_BUSY_S: Final = 1.0
# How long a caller waits for a write, in seconds; then it is told that the store did not answer.
_WRITE_S: Final = 2.0

# How long closing waits for writes under way, in seconds.
_CLOSE_S: Final = 10.0

_STANDING: Final = """
    SELECT found.account_id, found.closed_us IS NOT NULL, found.snapshot,
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

    def __init__(self, path: Path, clock: StoreClock, group: int = MAX_GROUP) -> None:
        """Opens the file at `path`. At most `group` writes share a commit.

        Raises:
            StoreUnavailableError: the file cannot be opened or written.
            SchemaError: it was written by a newer version of this service.
        """
        self._clock = clock
        try:
            writing = _connect(path)
            migrate(writing)
            sqlite_claims.rebase_leases(writing, clock)
            self._reading = _connect(path)
            self._reading.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"cannot open the SQLite file {path}: {error}") from error
        self._writer = GroupCommit(writing, Turnstile(path), group)

    async def standings(self, queries: Sequence[StandingQuery]) -> list[Standing]:
        with self._one_moment() as connection:
            return [_standing(connection, query, self._clock) for query in queries]

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        rows = [_row(each, self._clock.wall_us()) for each in liquidations]

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
        def close(connection: sqlite3.Connection) -> Liquidation | None:
            active = sqlite_claims.active_claim_on(connection, liquidation_id, self._clock)
            if active is not None:
                raise ClaimActiveError(active)
            row = connection.execute(
                _CLOSE, {"liquidation_id": liquidation_id, "now": self._clock.wall_us()}
            ).fetchone()
            return None if row is None else _liquidation(row[0])

        closed: Liquidation | None = await self._write(close)
        return closed

    async def begin(self, request: BeginRequest, decide: Callable[[Standing], Verdict]) -> Begun:
        # A refusal that brings no news needs no write. Whether the claim is granted is not told
        # from this look, but by the transaction below.
        with self._one_moment() as connection:
            known = sqlite_claims.known(connection, request.request_id, self._clock)
            standing = _standing(connection, _query(request), self._clock)
        if known is not None:
            return known
        if not _is_news(request.snapshot, standing):
            verdict = decide(standing)
            if not verdict.accepted:
                return Begun(None, verdict, request.decision_id, standing=standing)
        begun: Begun = await self._write(
            lambda connection: _begin(connection, request, decide, self._clock)
        )
        return begun

    async def renew(self, claim_id: str, token: int, lease_us: int) -> Changed:
        changed: Changed = await self._write(
            lambda connection: sqlite_claims.renew(
                connection, claim_id, token, lease_us, self._clock
            )
        )
        return changed

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str
    ) -> Changed:
        changed: Changed = await self._write(
            lambda connection: sqlite_claims.end(
                connection, claim_id, token, state, reason, self._clock
            )
        )
        return changed

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        key, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        with self._one_moment() as connection:
            return sqlite_claims.find(connection, key, value, self._clock)

    async def history(self, claim_id: str) -> list[ClaimEvent]:
        with self._one_moment() as connection:
            return sqlite_claims.history(connection, claim_id)

    async def claims(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        with self._one_moment() as connection:
            return sqlite_claims.page(connection, wanted, below, size, self._clock)

    async def expire(self, most: int) -> tuple[Claim, ...]:
        expired: tuple[Claim, ...] = await self._write(
            lambda connection: sqlite_claims.expire(connection, None, most, self._clock)
        )
        return expired

    async def purge(self, retention_us: int, most: int) -> int:
        before = self._clock.wall_us() - retention_us
        purged: int = await self._write(
            lambda connection: sqlite_claims.purge(connection, before, most)
        )
        return purged

    async def probe(self) -> None:
        with self._one_moment() as connection:
            connection.execute("SELECT count(*) FROM liquidation WHERE liquidation_id = 0")

    async def aclose(self) -> None:
        await asyncio.to_thread(self._writer.close, _CLOSE_S)
        self._reading.close()

    async def _write(self, job: Job) -> Any:
        # The job goes on when the caller is gone or waits no longer: whether it is on disk is then
        # unknown to the caller, which is what StoreUnavailableError says.
        done = self._writer.submit(job)
        # Where the caller is gone nobody is left to look at what became of it.
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            async with asyncio.timeout(_WRITE_S):
                return await asyncio.shield(done)
        except TimeoutError as error:
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
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _standing(connection: sqlite3.Connection, query: StandingQuery, clock: StoreClock) -> Standing:
    stored_account, closed, snapshot, liquidator_in_liquidation = connection.execute(
        _STANDING,
        {"liquidation_id": query.liquidation_id, "liquidator_id": query.liquidator_id},
    ).fetchone()
    account_id = query.account_id or stored_account
    return Standing(
        liquidation=None if snapshot is None else _liquidation(snapshot),
        closed=bool(closed),
        liquidator_in_liquidation=bool(liquidator_in_liquidation),
        active_claim=(
            sqlite_claims.active_claim(connection, account_id, clock) if account_id else None
        ),
        last_completed_revision=(
            sqlite_claims.last_completed(connection, account_id) if account_id else None
        ),
    )


def _begin(
    connection: sqlite3.Connection,
    request: BeginRequest,
    decide: Callable[[Standing], Verdict],
    clock: StoreClock,
) -> Begun:
    """Takes the slot, all in the transaction of the caller; see `Store.begin`."""
    known = sqlite_claims.known(connection, request.request_id, clock)
    if known is not None:
        return known
    put = None
    if request.snapshot is not None:
        try:
            put = _put(connection, 0, _row(request.snapshot, clock.wall_us()), request.snapshot)
        except AccountMismatchError:
            # Nothing was stored, and the rules refuse it as a liquidation that is not known.
            put = None
    standing = _standing(connection, _query(request), clock)
    account_id = _account_id(request, standing)
    if account_id is None:
        return Begun(None, decide(standing), request.decision_id, standing=standing, put=put)
    expired = sqlite_claims.expire(connection, account_id, 1, clock)
    claim, verdict, decided_on = sqlite_claims.take_slot(
        connection, request, account_id, replace(standing, active_claim=None), decide, clock
    )
    return Begun(claim, verdict, request.decision_id, standing=decided_on, put=put, expired=expired)


def _query(request: BeginRequest) -> StandingQuery:
    return StandingQuery(
        request.terms.liquidation_id,
        request.terms.liquidator_id,
        "" if request.snapshot is None else request.snapshot.account_id,
    )


def _account_id(request: BeginRequest, standing: Standing) -> str | None:
    """Whose slot it is about; None where no liquidation is known."""
    if request.snapshot is not None:
        return request.snapshot.account_id
    return None if standing.liquidation is None else standing.liquidation.account_id


def _is_news(snapshot: Liquidation | None, standing: Standing) -> bool:
    """Whether a snapshot that a request brought would be stored."""
    if snapshot is None or standing.closed:
        return False
    return standing.liquidation is None or standing.liquidation.revision < snapshot.revision


def _row(liquidation: Liquidation, now_us: int) -> dict[str, Any]:
    return {
        "liquidation_id": liquidation.liquidation_id,
        "account_id": liquidation.account_id,
        "revision": liquidation.revision,
        "snapshot": orjson.dumps(liquidation_record(liquidation)).decode(),
        "now": now_us,
    }


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
