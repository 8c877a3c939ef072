"""The embedded store: one SQLite file in WAL mode, every commit synced to disk.

Reads run on the caller's event loop: in WAL mode a reader waits for no writer, and a look-up by
key takes some ten microseconds, less than a hop to another thread. Writes run on the one thread of
`GroupCommit`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from liquidation.rules.model import (
    Claim,
    ClaimEvent,
    ClaimState,
    Decision,
    Liquidation,
    StoredState,
)
from liquidation.store.base import (
    TIMEOUT_S,
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    CommitObserver,
    Page,
    PutResult,
    StateQuery,
    StoreUnavailableError,
)
from liquidation.store.records import is_news
from liquidation.store.sqlite import claim_rows, claims
from liquidation.store.sqlite import liquidations as liquidation_rows
from liquidation.store.sqlite.clock import StoreClock
from liquidation.store.sqlite.group_commit import MAX_GROUP, FileLock, GroupCommit, Job
from liquidation.store.sqlite.schema import migrate
from liquidation.store.sqlite.states import StateCache, first_look

__all__ = ["SqliteStore"]

# How long one process waits for another's lock on the file, in seconds.
_BUSY_S: Final = 1.0
# How long closing waits for writes under way, in seconds.
_CLOSE_S: Final = 10.0


class SqliteStore:
    """A `Store` in one SQLite file, created on first use."""

    def __init__(
        self,
        path: Path,
        clock: StoreClock,
        group: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Opens the file at `path`. At most `group` writes share a commit, told to `committed`.

        A caller waits for a write for `timeout_s`, and is then told that there was no answer.

        Raises:
            StoreUnavailableError: the file cannot be opened or written.
            SchemaError: it was written by a newer version of this service.
        """
        self._clock = clock
        self._timeout_s = timeout_s
        with ExitStack() as opened:
            try:
                turnstile = FileLock(path)
                opened.callback(turnstile.close)
                # SQLite does not wait for others who turn a new file to WAL at the same time.
                with turnstile.passed():
                    writing = opened.enter_context(closing(_connect(path)))
                    migrate(writing)
                    claims.rebase_leases(writing, clock)
                    self._reading = opened.enter_context(closing(_connect(path)))
                    self._reading.execute("PRAGMA query_only = ON")
            except (sqlite3.Error, OSError) as error:
                told = f"cannot open the SQLite file {path}: {error}"
                raise StoreUnavailableError(told) from error
            # All is open, and stays so.
            opened.pop_all()
        self._states = StateCache(self._reading, clock)
        self._writer = GroupCommit(writing, turnstile, group, committed)

    async def states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        try:
            return self._states.of(queries)
        except sqlite3.Error as error:
            raise _cannot_read(error) from error

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        results: list[PutResult] = await self._write(
            lambda connection: liquidation_rows.put(connection, liquidations, self._clock.wall_us())
        )
        return results

    async def get(self, liquidation_id: int) -> Liquidation | None:
        with self._one_moment() as connection:
            return liquidation_rows.get(connection, liquidation_id)

    async def page(self, account_id: str, after: int, size: int) -> Page:
        with self._one_moment() as connection:
            return liquidation_rows.page(connection, account_id, after, size)

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        closed: Liquidation | None = await self._write(
            lambda connection: liquidation_rows.close(connection, liquidation_id, self._clock)
        )
        return closed

    async def begin(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult:
        # A refusal that brings no news needs no write. Whether the claim is granted is not told
        # from this look, but by the transaction below.
        query = StateQuery.about(request.terms, request.snapshot)
        try:
            state = first_look(self._reading, query, request.request_id, self._clock)
        except sqlite3.Error as error:
            raise _cannot_read(error) from error
        if state is None:
            if (known := self._known(request.request_id)) is not None:
                return known
        elif not is_news(request.snapshot, state):
            verdict = decide(state)
            if not verdict.accepted:
                return BeginResult(None, verdict, request.decision_id, state=state)
        begun: BeginResult = await self._write(
            lambda connection: claims.begin(connection, request, decide, self._clock)
        )
        return begun

    def _known(self, request_id: str) -> BeginResult | None:
        """What a request_id got before; None where that was purged meanwhile."""
        with self._one_moment() as connection:
            return claim_rows.known(connection, request_id, self._clock)

    async def renew(self, claim_id: str, token: int, lease_us: int) -> ChangeResult:
        changed: ChangeResult = await self._write(
            lambda connection: claims.renew(connection, claim_id, token, lease_us, self._clock)
        )
        return changed

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str
    ) -> ChangeResult:
        changed: ChangeResult = await self._write(
            lambda connection: claims.end(connection, claim_id, token, state, reason, self._clock)
        )
        return changed

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        key, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        with self._one_moment() as connection:
            return claim_rows.find(connection, key, value, self._clock)

    async def history(self, claim_id: str) -> list[ClaimEvent]:
        with self._one_moment() as connection:
            return claim_rows.history(connection, claim_id)

    async def claims(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        with self._one_moment() as connection:
            return claim_rows.page(connection, wanted, below, size, self._clock)

    async def count_active(self) -> int:
        with self._one_moment() as connection:
            return claim_rows.count_active(connection, self._clock)

    async def expire(self, most: int) -> tuple[Claim, ...]:
        expired: tuple[Claim, ...] = await self._write(
            lambda connection: claims.expire(connection, None, most, self._clock)
        )
        return expired

    async def purge(self, retention_us: int, most: int) -> int:
        before = self._clock.wall_us() - retention_us
        purged: int = await self._write(lambda connection: claims.purge(connection, before, most))
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
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(done)
        except TimeoutError as error:
            raise StoreUnavailableError(f"no commit within {self._timeout_s:g} s") from error

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
            raise _cannot_read(error) from error


def _cannot_read(error: sqlite3.Error) -> StoreUnavailableError:
    return StoreUnavailableError(f"cannot read: {error}")


def _connect(path: Path) -> sqlite3.Connection:
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
