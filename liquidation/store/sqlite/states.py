"""What SQLite knows about requests, and kept in memory for as long as the file stays as it is."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Liquidation, StoredState
from liquidation.store.base import BeginResult, StateQuery
from liquidation.store.sqlite import SQL
from liquidation.store.sqlite.connections import Header, StoreClock, is_settled
from liquidation.store.sqlite.rows import known, liquidation_of

# Positions of all liquidations that are kept in memory; some ten MiB.
_MOST_POSITIONS: Final = 20_000
# Liquidations whose newest revision is kept in memory; about one MiB.
_MOST_REVISIONS: Final = 10_000


class StateRow(NamedTuple):
    """What the file says about a request. Of a liquidation that is not known all is None.

    `answered` says whether a claim was granted to the request_id that was asked for.
    """

    snapshot: str | None
    account_id: str | None
    revision: int | None
    closed: int
    liquidator_in_liquidation: int
    claim_id: str | None
    lease_end_us: int | None
    last_completed_revision: int | None
    answered: int

    def active_claim(self, lease_now: int) -> ActiveClaim | None:
        """The claim that holds the account's slot."""
        if self.claim_id is None or self.lease_end_us is None or self.lease_end_us <= lease_now:
            return None
        return ActiveClaim(self.claim_id, lease_left_s(self.lease_end_us, lease_now))


def look_up(
    connection: sqlite3.Connection, query: StateQuery, request_id: str | None, lease_now: int
) -> StateRow:
    """What the file says about a request: one statement, and so one moment."""
    parameters = {
        "liquidation_id": query.liquidation_id,
        "liquidator_id": query.liquidator_id,
        "account_id": query.account_id or None,
        "request_id": request_id,
        "lease_now": lease_now,
    }
    return StateRow._make(connection.execute(SQL["state"], parameters).fetchone())


def read_states(
    connection: sqlite3.Connection, queries: Sequence[StateQuery], clock: StoreClock
) -> list[StoredState]:
    """The states as they are now, in a transaction of the caller."""
    lease_now = clock.lease_us()
    states = []
    for query in queries:
        row = look_up(connection, query, None, lease_now)
        liquidation = None if row.snapshot is None else liquidation_of(row.snapshot)
        states.append(Found(row, liquidation).at(lease_now))
    return states


class Found:
    """What was found about a request, from the moment it was asked until the file changes.

    `liquidation` is the snapshot in `row`; `unclaimed` the state but for a claim in process.
    """

    __slots__ = ("row", "unclaimed")

    def __init__(self, row: StateRow, liquidation: Liquidation | None) -> None:
        self.row = row
        self.unclaimed = StoredState(
            liquidation,
            bool(row.closed),
            bool(row.liquidator_in_liquidation),
            None,
            row.last_completed_revision,
        )

    def at(self, lease_now: int) -> StoredState:
        """The state at a moment of the clock that leases count on."""
        active = self.row.active_claim(lease_now)
        return self.unclaimed if active is None else replace(self.unclaimed, active_claim=active)


class StateCache:
    """Answers from memory while nobody commits to the file; for one thread.

    Whether any process has committed shows in the header of the WAL index, or else in SQLite on a
    connection that reads: its `data_version` changes with every commit of any other. Only time
    goes on without one, so a claim is kept with the end of its lease.
    """

    def __init__(
        self, connection: sqlite3.Connection, clock: StoreClock, header: Header | None = None
    ) -> None:
        """`connection` must not write, and is in autocommit mode.

        SQLite is asked for its version each time if there is no `header`: 10 µs in place of 0.1,
        and another thread may take the interpreter meanwhile.
        """
        self._connection = connection
        self._clock = clock
        self._header = header
        self._seen = b""
        self._version = -1
        self._found: dict[StateQuery, Found] = {}
        # What is stored is written anew with each revision: it outlives commits about others.
        self._snapshots: dict[int, tuple[str, Liquidation]] = {}
        self._size = 0
        # The newest revision that a claim has brought, by liquidation.
        self._revisions: dict[int, int] = {}

    def of(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        """The states, all as they were at one moment.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        if self._header is None or self._header.raw != self._seen:
            self._forget_if_changed()
        if len(queries) == 1:
            only = self._found.get(queries[0])
            if only is not None and only.row.claim_id is None:
                return [only.unclaimed]
        found = [each for each in map(self._found.get, queries) if each is not None]
        lease_now = self._clock.lease_us()
        if len(found) < len(queries):
            found = self._read(queries, lease_now)
        return [
            # Nearly none is claimed: half the time of a batch.
            each.unclaimed if each.row.claim_id is None else each.at(lease_now)
            for each in found
        ]

    def first_look(self, query: StateQuery, request_id: str, lease_now: int) -> Found:
        """What is known about a claim that is to begin.

        One statement, and so one moment: a transaction around two of them would take half as much
        again of the caller's time.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        return self._parsed(look_up(self._connection, query, request_id, lease_now), query)

    def note_revision(self, snapshot: Liquidation) -> bool:
        """Keeps the newest revision that claims brought; whether this one is newer than all."""
        known = self._revisions.get(snapshot.liquidation_id, 0)
        if snapshot.revision <= known:
            return False
        if len(self._revisions) >= _MOST_REVISIONS:
            self._revisions.clear()
        self._revisions[snapshot.liquidation_id] = snapshot.revision
        return True

    def known(self, request_id: str) -> BeginResult | None:
        """What a request_id got before; None if it is new.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        return known(self._connection, request_id, self._clock)

    def close(self) -> None:
        """Closes the connection."""
        self._header = None
        self._connection.close()

    def _read(self, queries: Sequence[StateQuery], lease_now: int) -> list[Found]:
        self._connection.execute("BEGIN")
        try:
            # Within the transaction, it is the version of all that is read in it.
            self._forget_if_changed()
            return [self._look_up(query, lease_now) for query in queries]
        finally:
            self._connection.execute("COMMIT")

    def _look_up(self, query: StateQuery, lease_now: int) -> Found:
        found = self._found.get(query)
        if found is None:
            found = self._parsed(look_up(self._connection, query, None, lease_now), query)
            self._make_room(1)
            self._found[query] = found
        return found

    def _parsed(self, row: StateRow, query: StateQuery) -> Found:
        if row.snapshot is None:
            return Found(row, None)
        kept = self._snapshots.get(query.liquidation_id)
        if kept is not None and kept[0] == row.snapshot:
            return Found(row, kept[1])
        if kept is not None:
            del self._snapshots[query.liquidation_id]
            self._size -= len(kept[1].positions)
        liquidation = liquidation_of(row.snapshot)
        self._make_room(len(liquidation.positions))
        self._snapshots[query.liquidation_id] = (row.snapshot, liquidation)
        return Found(row, liquidation)

    def _make_room(self, size: int) -> None:
        if self._size + size > _MOST_POSITIONS:
            self._found.clear()
            self._snapshots.clear()
            self._size = 0
        self._size += size

    def _forget_if_changed(self) -> None:
        """Forgets what is out of date. In a transaction, the version is that of all its reads."""
        header = self._header
        before = b"" if header is None else header.raw
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        # If it stayed the same meanwhile, it is the header of what SQLite has seen.
        stayed = header is not None and header.raw == before
        if version != self._version:
            if stayed and before == self._seen:
                # SQLite knows of a commit that the header does not show: it is not to be believed.
                self._header = None
            self._size -= len(self._found)
            self._found.clear()
            self._version = version
        self._seen = before if stayed and is_settled(before) else b""
