"""Liquidations in SQLite: the statements; each function runs inside a transaction of the caller."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from liquidation.rules.model import Liquidation
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import AccountMismatchError, ClaimActiveError, Page, PutResult
from liquidation.store.records import liquidation_text
from liquidation.store.sqlite.claim_rows import active_claim_on, page_of
from liquidation.store.sqlite.connections import StoreClock

_OPEN: Final = """
    INSERT INTO liquidation (liquidation_id, account_id, revision, snapshot, opened_us)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (liquidation_id) DO NOTHING
"""
_REFRESH: Final = """
    UPDATE liquidation SET revision = ?, snapshot = ?
    WHERE liquidation_id = ? AND account_id = ? AND closed_us IS NULL AND revision < ?
"""
_STORED: Final = """
    SELECT account_id, snapshot, closed_us IS NOT NULL FROM liquidation
    WHERE liquidation_id = ?
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
    return [_put(connection, index, each, now_us) for index, each in enumerate(liquidations)]


def get(connection: sqlite3.Connection, liquidation_id: int) -> Liquidation | None:
    """An open liquidation; see `Store.get`."""
    row = connection.execute(_GET, (liquidation_id,)).fetchone()
    return None if row is None else liquidation_of(row[0])


def page(connection: sqlite3.Connection, account_id: str, after: int, size: int) -> Page:
    """Open liquidations by id; see `Store.page`."""
    rows = connection.execute(
        _PAGE_OF_ACCOUNT if account_id else _PAGE,
        {"account_id": account_id, "after": after, "size": size + 1},
    )
    texts, more = page_of(rows, size, lambda row: row)
    found = [liquidation_of(text) for (text,) in texts]
    return Page(found, found[-1].liquidation_id if more else None)


def probe(connection: sqlite3.Connection) -> None:
    """Returns if the table can be read."""
    connection.execute("SELECT count(*) FROM liquidation WHERE liquidation_id = 0")


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


def _put(connection: sqlite3.Connection, index: int, sent: Liquidation, now_us: int) -> PutResult:
    if (opened := open_new(connection, sent, now_us)) is not None:
        return opened
    if (refreshed := refresh(connection, sent)) is not None:
        return refreshed
    account_id, snapshot, closed = connection.execute(_STORED, (sent.liquidation_id,)).fetchone()
    if account_id != sent.account_id:
        raise AccountMismatchError(index)
    return PutResult(liquidation_of(snapshot), applied=False, closed=bool(closed))


def open_new(connection: sqlite3.Connection, sent: Liquidation, now_us: int) -> PutResult | None:
    """Stores a liquidation; None if it is there already."""
    row = (
        sent.liquidation_id,
        sent.account_id,
        sent.revision,
        liquidation_text(sent),
        now_us,
    )
    opened = connection.execute(_OPEN, row).rowcount == 1
    return PutResult(sent, applied=True, opened=True) if opened else None


def refresh(connection: sqlite3.Connection, sent: Liquidation) -> PutResult | None:
    """Stores a snapshot of an open liquidation; None if it is not newer or another account's."""
    row = (
        sent.revision,
        liquidation_text(sent),
        sent.liquidation_id,
        sent.account_id,
        sent.revision,
    )
    refreshed = connection.execute(_REFRESH, row).rowcount == 1
    return PutResult(sent, applied=True) if refreshed else None


def liquidation_of(snapshot: str) -> Liquidation:
    """The snapshot that a row holds as text."""
    return liquidation_from_record(orjson.loads(snapshot))
