"""Claims in SQLite as they are read: rows to claims, and the questions that change nothing."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Claim, ClaimEvent, ClaimState
from liquidation.store.base import BeginResult, ClaimFilter, ClaimPage
from liquidation.store.records import claim_from, verdict_from
from liquidation.store.sqlite.clock import StoreClock

__all__ = [
    "COLUMNS",
    "active_claim",
    "active_claim_on",
    "claim_of",
    "count_active",
    "find",
    "history",
    "known",
    "now",
    "page",
]

COLUMNS: Final = """
    fencing_token, claim_id, request_id, account_id, terms, positions, revision, state, end_reason,
    begin_us, expire_us, end_us, lease_end_us
"""
_LEASE: Final = """
    SELECT claim_id, lease_end_us FROM claim
    WHERE state = 'ACTIVE' AND lease_end_us > :lease_now
"""


def now(clock: StoreClock) -> dict[str, Any]:
    """The parameters that every statement on claims has: one reading of the store's clock."""
    return {"boot": clock.boot_id, "lease_now": clock.lease_us(), "wall": clock.wall_us()}


def active_claim(
    connection: sqlite3.Connection, account_id: str, clock: StoreClock
) -> ActiveClaim | None:
    """The claim that holds the account's slot now."""
    return _active(connection, "account_id", account_id, clock)


def active_claim_on(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> ActiveClaim | None:
    """An active claim on a liquidation."""
    return _active(connection, "liquidation_id", liquidation_id, clock)


def _active(
    connection: sqlite3.Connection, key: str, value: str | int, clock: StoreClock
) -> ActiveClaim | None:
    parameters = now(clock) | {"value": value}
    row = connection.execute(f"{_LEASE} AND {key} = :value", parameters).fetchone()
    return (
        None if row is None else ActiveClaim(row[0], lease_left_s(row[1], parameters["lease_now"]))
    )


def known(connection: sqlite3.Connection, request_id: str, clock: StoreClock) -> BeginResult | None:
    """What a request_id got before; None where it is new."""
    row = connection.execute(
        f"SELECT {COLUMNS}, decision FROM claim WHERE request_id = ?",
        (request_id,),
    ).fetchone()
    if row is None:
        return None
    claim = claim_of(row, clock)
    decision_id, verdict = verdict_from(orjson.loads(row[-1]), claim)
    return BeginResult(claim, verdict, decision_id, known=True)


def find(connection: sqlite3.Connection, key: str, value: str, clock: StoreClock) -> Claim | None:
    """The claim whose `key`, claim_id or request_id, is `value`."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM claim WHERE {key} = ?",
        (value,),
    ).fetchone()
    return None if row is None else claim_of(row, clock)


def history(connection: sqlite3.Connection, claim_id: str) -> list[ClaimEvent]:
    """Everything that happened to a claim, oldest first."""
    rows = connection.execute(
        """
        SELECT change, time_us, expire_us, reason, forced FROM claim_event
        WHERE fencing_token = (SELECT fencing_token FROM claim WHERE claim_id = ?)
        ORDER BY event_id
        """,
        (claim_id,),
    )
    return [
        ClaimEvent(change, time_us, expire_us, reason, bool(forced))
        for change, time_us, expire_us, reason, forced in rows
    ]


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
    ).fetchall()
    claims = [claim_of(row, clock) for row in rows[:size]]
    return ClaimPage(claims, claims[-1].fencing_token if len(rows) > size else None)


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
