"""Claims in SQLite as they are read: rows to claims, and the questions that change nothing."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Claim, ClaimEvent, ClaimState
from liquidation.store.base import MAX_PAGE_BYTES, BeginResult, ClaimFilter, ClaimPage, ClaimRecord
from liquidation.store.records import claim_from, decision_from
from liquidation.store.sqlite.connections import StoreClock

Row = tuple[Any, ...]


def page_of(
    rows: Iterable[Row], size: int, texts: Callable[[Row], tuple[str, ...]]
) -> tuple[list[Row], bool]:
    """Up to `size` rows, and whether there are more; `texts` are what makes a row large.

    It ends behind the row with which it reaches `MAX_PAGE_BYTES`, and has at least one.
    """
    page: list[Row] = []
    room = MAX_PAGE_BYTES
    for row in rows:
        if len(page) == size or room <= 0:
            return page, True
        page.append(row)
        room -= sum(len(text.encode()) for text in texts(row))
    return page, False


COLUMNS: Final = """
    fencing_token, claim_id, request_id, account_id, terms, positions, revision, state, end_reason,
    begin_us, expire_us, end_us, lease_end_us
"""
# What is left of the lease of a claim that is active, as it is after a start on this host.
LEFT: Final = """
    CASE WHEN state <> 'ACTIVE' THEN NULL
         WHEN lease_boot = :boot THEN lease_end_us - :lease_now
         ELSE min(expire_us - :wall, lease_us) END
"""
_LEASE: Final = """
    SELECT claim_id, lease_end_us FROM claim
    WHERE liquidation_id = :liquidation_id AND state = 'ACTIVE' AND lease_end_us > :lease_now
"""

# The parameters that every statement on claims has.
Moment = dict[str, Any]


def now(clock: StoreClock) -> Moment:
    """One reading of the store's clock."""
    return {"boot": clock.boot_id, "lease_now": clock.lease_us(), "wall": clock.wall_us()}


def active_claim_on(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> ActiveClaim | None:
    """An active claim on a liquidation."""
    moment = now(clock)
    row = connection.execute(_LEASE, moment | {"liquidation_id": liquidation_id}).fetchone()
    return None if row is None else ActiveClaim(row[0], lease_left_s(row[1], moment["lease_now"]))


def known(connection: sqlite3.Connection, request_id: str, clock: StoreClock) -> BeginResult | None:
    """What a request_id got before; None where it is new."""
    row = connection.execute(
        f"SELECT {COLUMNS}, decision FROM claim WHERE request_id = ?",
        (request_id,),
    ).fetchone()
    if row is None:
        return None
    claim = claim_of(row, clock)
    decision_id, decision = decision_from(orjson.loads(row[-1]), claim)
    return BeginResult(claim, decision, decision_id, known=True)


def find(connection: sqlite3.Connection, key: str, value: str, clock: StoreClock) -> Claim | None:
    """The claim whose `key`, claim_id or request_id, is `value`."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM claim WHERE {key} = ?",
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
    rows = connection.execute(
        """
        SELECT change, time_us, expire_us, reason, forced FROM claim_event
        WHERE fencing_token = ? ORDER BY event_id
        """,
        (claim.fencing_token,),
    )
    return ClaimRecord(
        claim,
        [
            ClaimEvent(change, time_us, expire_us, reason, bool(forced))
            for change, time_us, expire_us, reason, forced in rows
        ],
    )


def page(
    connection: sqlite3.Connection,
    wanted: ClaimFilter,
    below: int | None,
    size: int,
    clock: StoreClock,
) -> ClaimPage:
    """A page of claims, newest first; see `Store.claims`."""
    conditions, parameters = _conditions(wanted, now(clock))
    if below is not None:
        conditions.append("fencing_token < :below")
        parameters["below"] = below
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM claim {where} ORDER BY fencing_token DESC LIMIT :size",
        parameters | {"size": size + 1},
    )
    kept, more = page_of(rows, size, lambda row: row[4:6])
    claims = [claim_of(row, clock) for row in kept]
    return ClaimPage(claims, claims[-1].fencing_token if more else None)


def count_active(connection: sqlite3.Connection, clock: StoreClock) -> int:
    """How many claims hold a slot now; see `Store.count_active`."""
    (count,) = connection.execute(
        "SELECT count(*) FROM claim WHERE state = 'ACTIVE' AND lease_end_us > :lease_now",
        now(clock),
    ).fetchone()
    return int(count)


def _conditions(wanted: ClaimFilter, moment: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Conditions on claims as readers see them: a lease that ran out is EXPIRED."""
    conditions = []
    parameters = dict(moment)
    if wanted.account_id:
        conditions.append("account_id = :account_id")
        parameters["account_id"] = wanted.account_id
    if wanted.liquidation_id:
        conditions.append("liquidation_id = :liquidation_id")
        parameters["liquidation_id"] = wanted.liquidation_id
    if wanted.state is ClaimState.ACTIVE:
        conditions.append("state = 'ACTIVE' AND lease_end_us > :lease_now")
    elif wanted.state is ClaimState.EXPIRED:
        conditions.append(
            "(state = 'EXPIRED' OR (state = 'ACTIVE' AND lease_end_us <= :lease_now))"
        )
    elif wanted.state is not None:
        conditions.append("state = :state")
        parameters["state"] = wanted.state.name
    return conditions, parameters


def claim_of(row: Sequence[Any], clock: StoreClock) -> Claim:
    """The claim in a row of `COLUMNS`, as it stands now: a lease that ran out is EXPIRED."""
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
