"""Liquidations and claims in SQLite: what reads them, and what stores snapshots.

Every function runs inside a transaction of the caller.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Claim, ClaimEvent, ClaimState, Liquidation
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import (
    MAX_PAGE_BYTES,
    AccountMismatchError,
    BeginResult,
    ClaimActiveError,
    ClaimFilter,
    ClaimPage,
    ClaimRecord,
    Page,
    PutResult,
)
from liquidation.store.records import claim_from, known_result, liquidation_text
from liquidation.store.sqlite import SQL
from liquidation.store.sqlite.connections import StoreClock

Row = tuple[Any, ...]


# The parameters that every statement on claims has.
Moment = dict[str, Any]
# Conditions on the state of a claim as readers see it: a lease that ran out is EXPIRED.
_IN_STATE: Final = {
    ClaimState.ACTIVE: "state = 'ACTIVE' AND lease_end_us > :lease_now",
    ClaimState.EXPIRED: "(state = 'EXPIRED' OR (state = 'ACTIVE' AND lease_end_us <= :lease_now))",
    ClaimState.COMPLETED: "state = 'COMPLETED'",
    ClaimState.CANCELLED: "state = 'CANCELLED'",
}


def now(clock: StoreClock) -> Moment:
    """One reading of the store's clock."""
    return {"boot": clock.boot_id, "lease_now": clock.lease_us(), "wall": clock.wall_us()}


def _page_of(
    rows: Iterable[Row], size: int, texts: Callable[[Row], tuple[str, ...]]
) -> tuple[list[Row], bool]:
    page: list[Row] = []
    room = MAX_PAGE_BYTES
    for row in rows:
        if len(page) == size or room <= 0:
            return page, True
        page.append(row)
        room -= sum(len(text.encode()) for text in texts(row))
    return page, False


def put(
    connection: sqlite3.Connection, liquidations: Sequence[Liquidation], now_us: int
) -> list[PutResult]:
    """Opens or refreshes liquidations; see `Store.put`."""
    return [_put(connection, index, each, now_us) for index, each in enumerate(liquidations)]


def get_liquidation(connection: sqlite3.Connection, liquidation_id: int) -> Liquidation | None:
    """An open liquidation; see `Store.get`."""
    row = connection.execute(SQL["get_liquidation"], (liquidation_id,)).fetchone()
    return None if row is None else liquidation_of(row[0])


def page_of_liquidations(
    connection: sqlite3.Connection, account_id: str, after: int, size: int
) -> Page:
    """Open liquidations by id; see `Store.page`."""
    rows = connection.execute(
        SQL["liquidations_of_account"] if account_id else SQL["liquidations"],
        {"account_id": account_id, "after": after, "size": size + 1},
    )
    texts, more = _page_of(rows, size, lambda row: row)
    found = [liquidation_of(text) for (text,) in texts]
    return Page(found, found[-1].liquidation_id if more else None)


def close_liquidation(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> Liquidation | None:
    """Ends an open liquidation; see `Store.close_liquidation`."""
    active = _active_claim_on(connection, liquidation_id, clock)
    if active is not None:
        raise ClaimActiveError(active)
    parameters = {"liquidation_id": liquidation_id, "now": clock.wall_us()}
    row = connection.execute(SQL["close_liquidation"], parameters).fetchone()
    return None if row is None else liquidation_of(row[0])


def _put(connection: sqlite3.Connection, index: int, sent: Liquidation, now_us: int) -> PutResult:
    if (opened := open_new(connection, sent, now_us)) is not None:
        return opened
    if (refreshed := refresh(connection, sent)) is not None:
        return refreshed
    account_id, snapshot, closed = connection.execute(
        SQL["stored_liquidation"], (sent.liquidation_id,)
    ).fetchone()
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
    opened = connection.execute(SQL["open_liquidation"], row).rowcount == 1
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
    refreshed = connection.execute(SQL["refresh_liquidation"], row).rowcount == 1
    return PutResult(sent, applied=True) if refreshed else None


def liquidation_of(snapshot: str) -> Liquidation:
    """The snapshot that a row holds as text."""
    return liquidation_from_record(orjson.loads(snapshot))


def _active_claim_on(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> ActiveClaim | None:
    moment = now(clock)
    row = connection.execute(
        SQL["active_claim"], moment | {"liquidation_id": liquidation_id}
    ).fetchone()
    return None if row is None else ActiveClaim(row[0], lease_left_s(row[1], moment["lease_now"]))


def known(connection: sqlite3.Connection, request_id: str, clock: StoreClock) -> BeginResult | None:
    """What a request_id got before; None if it is new."""
    row = connection.execute(SQL["known_request"], (request_id,)).fetchone()
    if row is None:
        return None
    return known_result(claim_of(row, clock), orjson.loads(row[-1]))


def find(connection: sqlite3.Connection, key: str, value: str, clock: StoreClock) -> Claim | None:
    """The claim whose `key`, claim_id or request_id, is `value`."""
    row = connection.execute(
        f"SELECT {SQL['claim_columns']} FROM claim WHERE {key} = ?",
        (value,),
    ).fetchone()
    return None if row is None else claim_of(row, clock)


def record(
    connection: sqlite3.Connection, key: str, value: str, clock: StoreClock
) -> ClaimRecord | None:
    """As `find`, with everything that happened to the claim; in a transaction of the caller."""
    claim = find(connection, key, value, clock)
    if claim is None:
        return None
    rows = connection.execute(SQL["claim_events"], (claim.fencing_token,))
    history = [
        ClaimEvent(change, time_us, expire_us, reason, bool(forced))
        for change, time_us, expire_us, reason, forced in rows
    ]
    return ClaimRecord(claim, history)


def page_of_claims(
    connection: sqlite3.Connection,
    wanted: ClaimFilter,
    below: int | None,
    size: int,
    clock: StoreClock,
) -> ClaimPage:
    """A page of claims, newest first; see `Store.claims`."""
    conditions = ["true"]
    if wanted.account_id:
        conditions.append("account_id = :account_id")
    if wanted.liquidation_id:
        conditions.append("liquidation_id = :liquidation_id")
    if wanted.state is not None:
        conditions.append(_IN_STATE[wanted.state])
    if below is not None:
        conditions.append("fencing_token < :below")
    rows = connection.execute(
        f"""
        SELECT {SQL["claim_columns"]} FROM claim WHERE {" AND ".join(conditions)}
        ORDER BY fencing_token DESC LIMIT :size
        """,
        {
            "account_id": wanted.account_id,
            "liquidation_id": wanted.liquidation_id,
            "below": below,
            "size": size + 1,
            "lease_now": clock.lease_us(),
        },
    )
    kept, more = _page_of(rows, size, lambda row: row[4:6])
    claims = [claim_of(row, clock) for row in kept]
    return ClaimPage(claims, claims[-1].fencing_token if more else None)


def count_active(connection: sqlite3.Connection, clock: StoreClock) -> int:
    """How many claims hold a slot now; see `Store.count_active`."""
    (count,) = connection.execute(SQL["count_active"], (clock.lease_us(),)).fetchone()
    return int(count)


def claim_of(row: Sequence[Any], clock: StoreClock) -> Claim:
    """The claim in a row of `claim_columns` as it stands now: a lease that ran out is EXPIRED."""
    token, claim_id, request_id, account_id, terms, positions, *described = row[:9]
    begin_us, expire_us, end_us, lease_end_us = row[9:13]
    return claim_from(
        (
            token,
            claim_id,
            request_id,
            account_id,
            orjson.loads(terms),
            orjson.loads(positions),
            *described,
        ),
        begin_us,
        expire_us,
        end_us,
        over=lease_end_us <= clock.lease_us(),
    )
