"""The embedded store: one SQLite file in WAL mode, every commit synced to disk.

In WAL mode a reader waits for no writer. What a request needs to be decided is answered from
memory, or by a look-up of some ten microseconds, on the thread that asks; other reads have
connections of their own, so that none of them is waited for there. Writes run on the one thread of
`GroupCommit`.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from liquidation.rules.decision import Decision
from liquidation.rules.model import Claim, ClaimState, Liquidation, StoredState
from liquidation.store.base import (
    TIMEOUT_S,
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    ClaimRecord,
    CommitObserver,
    Done,
    Fault,
    Page,
    PutResult,
    StateQuery,
    StoreUnavailableError,
)
from liquidation.store.records import is_news
from liquidation.store.sqlite import SQL, claims, rows
from liquidation.store.sqlite.connections import (
    FileLock,
    Reader,
    StoreClock,
    cannot_read,
    connect,
    connect_to_read,
    find_header,
)
from liquidation.store.sqlite.group_commit import MAX_GROUP, GroupCommit
from liquidation.store.sqlite.schema import migrate
from liquidation.store.sqlite.states import Found, StateCache, read_states

# How long closing waits for writes under way, in seconds.
_CLOSE_S: Final = 10.0


class SqliteStore:
    """A `Store` in one SQLite file, created on first use.

    `states` and `begin` are for one thread, the one that answers; all else may be asked by others
    at the same time.
    """

    def __init__(
        self,
        path: Path,
        clock: StoreClock,
        group: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        timeout_s: float = TIMEOUT_S,
        on_fault: Fault = lambda _: None,
    ) -> None:
        """Opens the file at `path`. At most `group` writes share a commit, reported to `committed`.

        A write is waited for `timeout_s` at most. `on_fault` takes what callbacks raise.

        Raises:
            StoreUnavailableError: the file cannot be opened or written.
            SchemaError: it was written by a newer version of this service.
        """
        self._clock = clock
        with ExitStack() as opened:
            try:
                file_lock = FileLock(path)
                opened.callback(file_lock.close)
                # SQLite does not wait for others who turn a new file to WAL at the same time.
                with file_lock.held():
                    writing = opened.enter_context(closing(connect(path)))
                    migrate(writing)
                    claims.rebase_leases(writing, clock)
                    answering, serving, watching = [
                        opened.enter_context(closing(connect_to_read(path))) for _ in range(3)
                    ]
                    header = find_header(path)
            except (sqlite3.Error, OSError) as error:
                message = f"cannot open the SQLite file {path}: {error}"
                raise StoreUnavailableError(message) from error
            # All is open, and stays so.
            opened.pop_all()
        self._states = StateCache(answering, clock, header)
        self._serving = Reader(serving)
        # Whoever looks after the process is not to be waited for by calls, nor the other way round.
        self._watching = Reader(watching)
        self._writer = GroupCommit(writing, file_lock, group, committed, timeout_s, on_fault)

    def states(self, queries: Sequence[StateQuery]) -> list[StoredState] | None:
        try:
            return self._states.of(queries)
        except sqlite3.Error as error:
            raise cannot_read(error) from error

    def read_states(self, queries: Sequence[StateQuery], done: Done[list[StoredState]]) -> None:
        self._serving.read(lambda reading: read_states(reading, queries, self._clock), done)

    def put(self, liquidations: Sequence[Liquidation], done: Done[list[PutResult]]) -> None:
        self._writer.submit(
            lambda writing: rows.put(writing, liquidations, self._clock.wall_us()), done
        )

    def get(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        self._serving.read(lambda reading: rows.get_liquidation(reading, liquidation_id), done)

    def page(self, account_id: str, after: int, size: int, done: Done[Page]) -> None:
        self._serving.read(
            lambda reading: rows.page_of_liquidations(reading, account_id, after, size), done
        )

    def close_liquidation(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        self._writer.submit(
            lambda writing: rows.close_liquidation(writing, liquidation_id, self._clock), done
        )

    def begin(
        self,
        request: BeginRequest,
        decide: Callable[[StoredState], Decision],
        done: Done[BeginResult],
    ) -> None:
        # A refusal that brings no news needs no write. Whether the claim is granted is not decided
        # by this look, but in the transaction of the writer. What is news is not looked at twice:
        # the look takes a fifth of the time of a claim.
        seen: Found | None = None
        if request.snapshot is None or not self._states.note_revision(request.snapshot):
            outcome: BeginResult | Exception | Found
            try:
                outcome = self._looked(request, decide)
            except sqlite3.Error as error:
                outcome = cannot_read(error)
            except Exception as error:  # noqa: BLE001 - handed to the caller
                outcome = error
            if not isinstance(outcome, Found):
                done(outcome)
                return
            seen = outcome
        self._writer.submit(
            lambda writing: claims.begin(writing, request, decide, self._clock, seen), done
        )

    def _looked(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult | Found:
        """What needs no write; else what was found."""
        query = StateQuery.about(request.terms, request.snapshot)
        lease_now = self._clock.lease_us()
        found = self._states.first_look(query, request.request_id, lease_now)
        if found.row.answered:
            # It may have been purged meanwhile.
            return self._states.known(request.request_id) or found
        if is_news(request.snapshot, found.unclaimed):
            return found
        state = found.at(lease_now)
        decision = decide(state)
        if decision.accepted:
            return found
        return BeginResult(None, decision, request.decision_id, state=state)

    def renew(self, claim_id: str, token: int, lease_us: int, done: Done[ChangeResult]) -> None:
        self._writer.submit(
            lambda writing: claims.renew(writing, claim_id, token, lease_us, self._clock), done
        )

    def end(
        self,
        claim_id: str,
        token: int | None,
        state: ClaimState,
        reason: str,
        done: Done[ChangeResult],
    ) -> None:
        self._writer.submit(
            lambda writing: claims.end(writing, claim_id, token, state, reason, self._clock), done
        )

    def claim(
        self, *, claim_id: str = "", request_id: str = "", done: Done[ClaimRecord | None]
    ) -> None:
        key, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        self._serving.read(lambda reading: rows.record(reading, key, value, self._clock), done)

    def claims(
        self, wanted: ClaimFilter, below: int | None, size: int, done: Done[ClaimPage]
    ) -> None:
        self._serving.read(
            lambda reading: rows.page_of_claims(reading, wanted, below, size, self._clock), done
        )

    def count_active(self, done: Done[int]) -> None:
        self._watching.read(lambda reading: rows.count_active(reading, self._clock), done)

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        self._writer.submit(lambda writing: claims.expire(writing, most, self._clock), done)

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        before = self._clock.wall_us() - retention_us
        self._writer.submit(lambda writing: claims.purge(writing, before, most), done)

    def probe(self, done: Done[None]) -> None:
        self._watching.read(lambda reading: reading.execute(SQL["probe"]).close(), done)

    def close(self) -> None:
        self._writer.close(_CLOSE_S)
        self._states.close()
        self._serving.close()
        self._watching.close()
