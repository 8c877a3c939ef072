"""Liquidations in SQLite: the statements; each function runs inside a transaction of the caller."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from liquidation.rules.model import Liquidation
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import AccountMismatchError, ClaimActiveError, Page, PutResult
from liquidation.store.records import liquidation_text
from liquidation.store.sqlite.claim_rows import active_claim_on
from liquidation.store.sqlite.clock import StoreClock

__all__ = ["close", "get", "liquidation_of", "page", "put"]

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
    return None if row is None else liquidation_of(row[0])


def page(connection: sqlite3.Connection, account_id: str, after: int, size: int) -> Page:
    """Open liquidations by id; see `Store.page`."""
    rows = connection.execute(
        _PAGE_OF_ACCOUNT if account_id else _PAGE,
        {"account_id": account_id, "after": after, "size": size + 1},
    ).fetchall()
    found = [liquidation_of(snapshot) for (snapshot,) in rows[:size]]
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
    return None if row is None else liquidation_of(row[0])


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
    return PutResult(liquidation_of(snapshot), applied=False, closed=bool(closed))


def liquidation_of(snapshot: str) -> Liquidation:
    """The snapshot that a row holds as text."""
    return liquidation_from_record(orjson.loads(snapshot))
