"""Liquidations in SQLite: the statements; each function runs inside a transaction of the caller."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from liquidation.core.leases import lease_left_s
from liquidation.core.model import ActiveClaim, Liquidation, Standing
from liquidation.core.record import liquidation_from_record
from liquidation.store.base import (
    AccountMismatchError,
    ClaimActiveError,
    Page,
    PutResult,
    StandingQuery,
)
from liquidation.store.clock import StoreClock
from liquidation.store.records import liquidation_text
from liquidation.store.sqlite_claim_rows import active_claim_on

__all__ = ["close", "get", "page", "put", "standing_of"]

_STANDING: Final = """
    SELECT found.closed_us IS NOT NULL, found.snapshot,
           EXISTS (SELECT 1 FROM liquidation AS own
                   WHERE own.account_id = :liquidator_id AND own.closed_us IS NULL),
           active.claim_id, active.lease_end_us, settled.revision
    FROM (SELECT 1)
    LEFT JOIN liquidation AS found ON found.liquidation_id = :liquidation_id
    LEFT JOIN claim AS active ON active.account_id = coalesce(:account_id, found.account_id)
                             AND active.state = 'ACTIVE' AND active.lease_end_us > :lease_now
    LEFT JOIN settled ON settled.account_id = coalesce(:account_id, found.account_id)
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


def put(
    connection: sqlite3.Connection, liquidations: Sequence[Liquidation], now_us: int
) -> list[PutResult]:
    """Opens or refreshes liquidations; see `Store.put`."""
    return [
        _put(connection, index, _row(each, now_us), each) for index, each in enumerate(liquidations)
    ]


def get(connection: sqlite3.Connection, liquidation_id: int) -> Liquidation | None:
    """An open liquidation; see `Store.get`."""
    row = connection.execute(_GET, (liquidation_id,)).fetchone()
    return None if row is None else _liquidation(row[0])


def page(connection: sqlite3.Connection, account_id: str, after: int, size: int) -> Page:
    """Open liquidations by id; see `Store.page`."""
    rows = connection.execute(
        _PAGE_OF_ACCOUNT if account_id else _PAGE,
        {"account_id": account_id, "after": after, "size": size + 1},
    ).fetchall()
    found = [_liquidation(snapshot) for (snapshot,) in rows[:size]]
    return Page(found, found[-1].liquidation_id if len(rows) > size else None)


def close(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> Liquidation | None:
    """Ends an open liquidation; see `Store.close_liquidation`."""
    active = active_claim_on(connection, liquidation_id, clock)
    if active is not None:
        raise ClaimActiveError(active)
    parameters = {"liquidation_id": liquidation_id, "now": clock.wall_us()}
    row = connection.execute(_CLOSE, parameters).fetchone()
    return None if row is None else _liquidation(row[0])


def standing_of(
    connection: sqlite3.Connection,
    query: StandingQuery,
    clock: StoreClock,
    fresh: Liquidation | None = None,
) -> Standing:
    """What is known about a request; see `Store.standings`.

    `fresh` is the snapshot that this transaction has just stored, which need not be read again.
    """
    lease_now = clock.lease_us()
    closed, snapshot, liquidator_in_liquidation, claim_id, lease_end_us, completed = (
        connection.execute(
            _STANDING,
            {
                "liquidation_id": query.liquidation_id,
                "liquidator_id": query.liquidator_id,
                "account_id": query.account_id or None,
                "lease_now": lease_now,
            },
        ).fetchone()
    )
    active = None
    if claim_id is not None:
        active = ActiveClaim(claim_id, lease_left_s(lease_end_us, lease_now))
    if fresh is None and snapshot is not None:
        fresh = _liquidation(snapshot)
    return Standing(fresh, bool(closed), bool(liquidator_in_liquidation), active, completed)


def _row(liquidation: Liquidation, now_us: int) -> dict[str, Any]:
    return {
        "liquidation_id": liquidation.liquidation_id,
        "account_id": liquidation.account_id,
        "revision": liquidation.revision,
        "snapshot": liquidation_text(liquidation),
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
