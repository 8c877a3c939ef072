"""Claims in SQLite as they are read: rows to claims, and the questions that change nothing."""

import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from liquidation.core.leases import lease_left_s
from liquidation.core.model import ActiveClaim, Claim, ClaimEvent, ClaimState, Verdict
from liquidation.core.numbers import plain
from liquidation.core.record import claimed_positions_from_record, terms_from_record
from liquidation.store.base import Begun, ClaimFilter, ClaimPage
from liquidation.store.clock import StoreClock

__all__ = [
    "COLUMNS",
    "LEASE_RAN_OUT",
    "active_claim",
    "active_claim_on",
    "claim_of",
    "count_active",
    "decision_record",
    "find",
    "history",
    "known",
    "now",
    "page",
]

LEASE_RAN_OUT: Final = "The lease ran out."

COLUMNS: Final = """
    fencing_token, claim_id, request_id, account_id, terms, positions, revision, state,
    begin_us, expire_us, end_us, end_reason, lease_end_us
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


def known(connection: sqlite3.Connection, request_id: str, clock: StoreClock) -> Begun | None:
    """What a request_id got before; None where it is new."""
    row = connection.execute(
        f"SELECT {COLUMNS}, decision FROM claim WHERE request_id = ?",
        (request_id,),
    ).fetchone()
    if row is None:
        return None
    decision_id, verdict = _verdict(orjson.loads(row[-1]), row)
    return Begun(claim_of(row, clock), verdict, decision_id, known=True)


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
    (token, claim_id, request_id, account_id, terms, positions, revision, state, *times) = row[:13]
    begin_us, expire_us, end_us, end_reason, lease_end_us = times
    if state == ClaimState.ACTIVE.name and lease_end_us <= clock.lease_us():
        state, end_us, end_reason = ClaimState.EXPIRED.name, expire_us, LEASE_RAN_OUT
    return Claim(
        claim_id=claim_id,
        request_id=request_id,
        account_id=account_id,
        terms=terms_from_record(orjson.loads(terms)),
        liquidation_revision=revision,
        fencing_token=token,
        state=ClaimState[state],
        positions=claimed_positions_from_record(orjson.loads(positions) if positions else ()),
        begin_us=begin_us,
        expire_us=expire_us,
        end_us=end_us,
        end_reason=end_reason,
    )


def decision_record(decision_id: str, verdict: Verdict) -> dict[str, Any]:
    """What of a decision the same request_id is told again."""
    return {
        "decision_id": decision_id,
        "rules_version": verdict.rules_version,
        "numbers": [
            None if number is None else plain(number)
            for number in (
                verdict.total_notional,
                verdict.least_req_ratio,
                verdict.margin_ratio,
                verdict.maintenance_margin_ratio,
            )
        ],
    }


def _verdict(record: Mapping[str, Any], row: Sequence[Any]) -> tuple[str, Verdict]:
    total, least, margin, maintenance = (
        None if text is None else Decimal(text) for text in record["numbers"]
    )
    verdict = Verdict(
        refusal=None,
        rules_version=record["rules_version"],
        total_notional=total,
        least_req_ratio=least,
        margin_ratio=margin,
        maintenance_margin_ratio=maintenance,
        liquidation_revision=row[6],
        account_id=row[3],
    )
    return record["decision_id"], verdict
