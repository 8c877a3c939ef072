"""What SQLite knows about requests, and kept in memory for as long as the file stays as it is."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Liquidation, StoredState
from liquidation.store.base import StateQuery
from liquidation.store.sqlite.clock import StoreClock
from liquidation.store.sqlite.liquidations import liquidation_of

__all__ = ["StateCache", "first_look", "unclaimed"]

_STANDING: Final = """
    SELECT found.closed_us IS NOT NULL, found.snapshot,
           EXISTS (SELECT 1 FROM liquidation AS own
                   WHERE own.account_id = :liquidator_id AND own.closed_us IS NULL),
           active.claim_id, active.lease_end_us, settled.revision,
           EXISTS (SELECT 1 FROM claim WHERE request_id = :request_id)
    FROM (SELECT 1)
    LEFT JOIN liquidation AS found ON found.liquidation_id = :liquidation_id
    LEFT JOIN claim AS active ON active.account_id = coalesce(:account_id, found.account_id)
                             AND active.state = 'ACTIVE' AND active.lease_end_us > :lease_now
    LEFT JOIN settled ON settled.account_id = coalesce(:account_id, found.account_id)
"""
# Positions of all liquidations that are kept in memory; some ten MiB.
_MOST_POSITIONS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Known:
    """What the file says about a request, from the moment it was asked until it changes.

    `answered` tells whether a claim was granted to the request_id that was asked for.
    """

    unclaimed: StoredState
    claim_id: str | None
    lease_end_us: int
    answered: bool

    def at(self, lease_now: int) -> StoredState:
        """The state at a moment of the clock that leases count on."""
        if self.claim_id is None or self.lease_end_us <= lease_now:
            return self.unclaimed
        left_s = lease_left_s(self.lease_end_us, lease_now)
        return replace(self.unclaimed, active_claim=ActiveClaim(self.claim_id, left_s))


def unclaimed(
    connection: sqlite3.Connection,
    query: StateQuery,
    clock: StoreClock,
    fresh: Liquidation | None = None,
) -> StoredState:
    """What is known about a request but for the claim in process, in a transaction of the caller.

    `fresh` is the snapshot that this transaction has just stored, which need not be read again.
    """
    return _ask(connection, query, clock.lease_us(), fresh).unclaimed


def first_look(
    connection: sqlite3.Connection, query: StateQuery, request_id: str, clock: StoreClock
) -> StoredState | None:
    """What is known about a claim that is to begin; None where its request_id has one already.

    One statement, and so one moment: a transaction around two of them would take half as much
    again of the event loop's time.
    """
    lease_now = clock.lease_us()
    known = _ask(connection, query, lease_now, request_id=request_id)
    return None if known.answered else known.at(lease_now)


def _ask(
    connection: sqlite3.Connection,
    query: StateQuery,
    lease_now: int,
    fresh: Liquidation | None = None,
    request_id: str | None = None,
) -> _Known:
    closed, snapshot, liquidator_in_liquidation, claim_id, lease_end_us, completed, answered = (
        connection.execute(
            _STANDING,
            {
                "liquidation_id": query.liquidation_id,
                "liquidator_id": query.liquidator_id,
                "account_id": query.account_id or None,
                "lease_now": lease_now,
                "request_id": request_id,
            },
        ).fetchone()
    )
    if fresh is None and snapshot is not None:
        fresh = liquidation_of(snapshot)
    unclaimed = StoredState(fresh, bool(closed), bool(liquidator_in_liquidation), None, completed)
    return _Known(unclaimed, claim_id, lease_end_us or 0, bool(answered))


class StateCache:
    """Answers from memory while nobody commits to the file, in a sixth of the time of a look-up.

    Whether anybody has, of this process or another, SQLite tells of a connection that reads:
    `data_version` changes with every commit of any other. Only time goes on without one, so a claim
    is kept with the end of its lease.
    """

    def __init__(self, connection: sqlite3.Connection, clock: StoreClock) -> None:
        """`connection` must not write, and is in autocommit mode."""
        self._connection = connection
        self._clock = clock
        self._version = -1
        self._known: dict[StateQuery, _Known] = {}
        self._positions = 0

    def of(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        """The states, all as they were at one moment.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        self._forget_if_changed()
        found = [self._known.get(query) for query in queries]
        lease_now = self._clock.lease_us()
        known = [each for each in found if each is not None]
        if len(known) < len(queries):
            known = self._read(queries, lease_now)
        return [each.at(lease_now) for each in known]

    def _read(self, queries: Sequence[StateQuery], lease_now: int) -> list[_Known]:
        self._connection.execute("BEGIN")
        try:
            # Within the transaction, it is the version of all that is read in it.
            self._forget_if_changed()
            return [self._look_up(query, lease_now) for query in queries]
        finally:
            self._connection.execute("COMMIT")

    def _look_up(self, query: StateQuery, lease_now: int) -> _Known:
        known = self._known.get(query)
        if known is None:
            known = _ask(self._connection, query, lease_now)
            stored = known.unclaimed.liquidation
            size = 1 if stored is None else 1 + len(stored.positions)
            if self._positions + size > _MOST_POSITIONS:
                self._forget()
            self._positions += size
            self._known[query] = known
        return known

    def _forget_if_changed(self) -> None:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._forget()
            self._version = version

    def _forget(self) -> None:
        self._known.clear()
        self._positions = 0
