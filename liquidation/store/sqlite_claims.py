"""Claims in SQLite: the statements, each run inside a transaction of the caller.

The account's slot is taken by inserting the claim: the unique index on active claims lets exactly
one in. Nothing here looks whether the slot is free before it takes it.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import orjson

from liquidation.core.leases import lease_left_s
from liquidation.core.model import (
    ActiveClaim,
    Claim,
    ClaimEvent,
    ClaimState,
    Standing,
    Verdict,
)
from liquidation.core.numbers import plain
from liquidation.core.record import (
    claimed_positions_from_record,
    claimed_positions_record,
    terms_from_record,
    terms_record,
)
from liquidation.store.base import BeginRequest, Begun, Changed, ClaimFilter, ClaimPage
from liquidation.store.clock import StoreClock

__all__ = [
    "active_claim",
    "active_claim_on",
    "end",
    "expire",
    "find",
    "history",
    "known",
    "last_completed",
    "page",
    "purge",
    "rebase_leases",
    "renew",
    "take_slot",
]

_LEASE_RAN_OUT: Final = "The lease ran out."

_COLUMNS: Final = """
    fencing_token, claim_id, request_id, account_id, terms, positions, revision, state,
    begin_us, expire_us, end_us, end_reason, lease_end_us
"""
_INSERT: Final = f"""
    INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms,
                       positions, decision, state, lease_boot, lease_us, lease_end_us, begin_us,
                       expire_us)
    VALUES (:claim_id, :request_id, :account_id, :liquidation_id, 0, :terms, '', '', 'ACTIVE',
            :boot, :lease_us, :lease_now + :lease_us, :wall, :wall + :lease_us)
    ON CONFLICT DO NOTHING
    RETURNING {_COLUMNS}
"""
_GRANT: Final = f"""
    UPDATE claim SET revision = :revision, positions = :positions, decision = :decision
    WHERE fencing_token = :token
    RETURNING {_COLUMNS}
"""
_EXPIRE: Final = f"""
    UPDATE claim SET state = 'EXPIRED', end_us = expire_us, end_reason = '{_LEASE_RAN_OUT}'
    WHERE fencing_token IN (
        SELECT fencing_token FROM claim
        WHERE state = 'ACTIVE' AND lease_end_us <= :lease_now
          AND (:account_id IS NULL OR account_id = :account_id)
        LIMIT :most
    )
    RETURNING {_COLUMNS}
"""
_RENEW: Final = f"""
    UPDATE claim SET lease_us = :lease_us, lease_end_us = :lease_now + :lease_us,
                     expire_us = :wall + :lease_us
    WHERE claim_id = :claim_id AND fencing_token = :token
      AND state = 'ACTIVE' AND lease_end_us > :lease_now
    RETURNING {_COLUMNS}
"""
_END: Final = f"""
    UPDATE claim SET state = :state, end_us = :wall, end_reason = :reason
    WHERE claim_id = :claim_id AND (:token IS NULL OR fencing_token = :token)
      AND state = 'ACTIVE' AND lease_end_us > :lease_now
    RETURNING {_COLUMNS}
"""
_SETTLE: Final = """
    INSERT INTO settled (account_id, revision) VALUES (:account_id, :revision)
    ON CONFLICT (account_id) DO UPDATE SET revision = max(revision, excluded.revision)
"""
_EVENT: Final = """
    INSERT INTO claim_event (fencing_token, change, time_us, expire_us, reason, forced)
    VALUES (:token, :change, :time_us, :expire_us, :reason, :forced)
"""
_ACTIVE: Final = """
    SELECT claim_id, lease_end_us FROM claim
    WHERE state = 'ACTIVE' AND lease_end_us > :lease_now AND account_id = :account_id
"""
_REBASE: Final = """
    UPDATE claim SET lease_boot = :boot,
                     lease_end_us = :lease_now + max(0, min(expire_us - :wall, lease_us))
    WHERE state = 'ACTIVE' AND lease_boot <> :boot
"""
_PURGE: Final = """
    DELETE FROM claim WHERE fencing_token IN (
        SELECT fencing_token FROM claim WHERE end_us < :before LIMIT :most
    )
"""


def rebase_leases(connection: sqlite3.Connection, clock: StoreClock) -> None:
    """Carries leases that were begun before the host started again over to its new boot clock.

    Only the wall clock goes on over a restart. However it was set meanwhile, no lease runs on for
    longer than it was given.
    """
    connection.execute(_REBASE, _now(clock))


def known(connection: sqlite3.Connection, request_id: str, clock: StoreClock) -> Begun | None:
    """What a request_id got before; None where it is new."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, decision FROM claim WHERE request_id = ?",
        (request_id,),
    ).fetchone()
    if row is None:
        return None
    decision_id, verdict = _verdict(orjson.loads(row[-1]), row)
    return Begun(_claim(row, clock), verdict, decision_id, known=True)


def take_slot(
    connection: sqlite3.Connection,
    request: BeginRequest,
    account_id: str,
    standing: Standing,
    decide: Callable[[Standing], Verdict],
    clock: StoreClock,
) -> tuple[Claim | None, Verdict, Standing]:
    """Takes the account's slot if it is free and `decide` accepts; else leaves all as it was.

    Returns the claim, or None where it was not granted, and what it was decided on.
    """
    connection.execute("SAVEPOINT slot")
    now = _now(clock)
    taken = connection.execute(
        _INSERT,
        now
        | {
            "claim_id": request.claim_id,
            "request_id": request.request_id,
            "account_id": account_id,
            "liquidation_id": request.terms.liquidation_id,
            "terms": orjson.dumps(terms_record(request.terms)).decode(),
            "lease_us": request.lease_us,
        },
    ).fetchone()
    if taken is None:
        connection.execute("RELEASE slot")
        standing = replace(standing, active_claim=active_claim(connection, account_id, clock))
        return None, decide(standing), standing
    verdict = decide(standing)
    if not verdict.accepted:
        connection.execute("ROLLBACK TO slot")
        connection.execute("RELEASE slot")
        return None, verdict, standing
    row = connection.execute(
        _GRANT,
        {
            "token": taken[0],
            "revision": verdict.liquidation_revision,
            "positions": orjson.dumps(claimed_positions_record(verdict.positions)).decode(),
            "decision": orjson.dumps(_decision_record(request.decision_id, verdict)).decode(),
        },
    ).fetchone()
    connection.execute("RELEASE slot")
    claim = _claim(row, clock)
    _note(connection, claim, "begin", claim.begin_us)
    return claim, verdict, standing


def active_claim(
    connection: sqlite3.Connection, account_id: str, clock: StoreClock
) -> ActiveClaim | None:
    """The claim that holds the account's slot now."""
    now = _now(clock)
    row = connection.execute(_ACTIVE, now | {"account_id": account_id}).fetchone()
    if row is None:
        return None
    claim_id, lease_end_us = row
    return ActiveClaim(claim_id, lease_left_s(lease_end_us, now["lease_now"]))


def active_claim_on(
    connection: sqlite3.Connection, liquidation_id: int, clock: StoreClock
) -> ActiveClaim | None:
    """An active claim on a liquidation."""
    now = _now(clock)
    row = connection.execute(
        """
        SELECT claim_id, lease_end_us FROM claim
        WHERE state = 'ACTIVE' AND lease_end_us > :lease_now AND liquidation_id = :liquidation_id
        """,
        now | {"liquidation_id": liquidation_id},
    ).fetchone()
    return None if row is None else ActiveClaim(row[0], lease_left_s(row[1], now["lease_now"]))


def last_completed(connection: sqlite3.Connection, account_id: str) -> int | None:
    """The revision that the account's last completed claim was decided on."""
    row = connection.execute(
        "SELECT revision FROM settled WHERE account_id = ?", (account_id,)
    ).fetchone()
    return None if row is None else row[0]


def renew(
    connection: sqlite3.Connection, claim_id: str, token: int, lease_us: int, clock: StoreClock
) -> Changed:
    """Extends an active claim's lease; see `Store.renew`."""
    parameters = _now(clock) | {"claim_id": claim_id, "token": token, "lease_us": lease_us}
    row = connection.execute(_RENEW, parameters).fetchone()
    if row is None:
        return Changed(find(connection, "claim_id", claim_id, clock), applied=False)
    claim = _claim(row, clock)
    _note(connection, claim, "renew", parameters["wall"])
    return Changed(claim, applied=True)


def end(
    connection: sqlite3.Connection,
    claim_id: str,
    token: int | None,
    state: ClaimState,
    reason: str,
    clock: StoreClock,
) -> Changed:
    """Ends an active claim; see `Store.end`."""
    parameters = _now(clock) | {
        "claim_id": claim_id,
        "token": token,
        "state": state.name,
        "reason": reason,
    }
    row = connection.execute(_END, parameters).fetchone()
    if row is None:
        return Changed(find(connection, "claim_id", claim_id, clock), applied=False)
    claim = _claim(row, clock)
    if state is ClaimState.COMPLETED:
        connection.execute(
            _SETTLE, {"account_id": claim.account_id, "revision": claim.liquidation_revision}
        )
    change = "complete" if state is ClaimState.COMPLETED else "cancel"
    _note(connection, claim, change, parameters["wall"], reason, forced=token is None)
    return Changed(claim, applied=True)


def expire(
    connection: sqlite3.Connection, account_id: str | None, most: int, clock: StoreClock
) -> tuple[Claim, ...]:
    """Writes down leases that ran out, of one account or of all; see `Store.expire`."""
    parameters = _now(clock) | {"account_id": account_id, "most": most}
    expired = tuple(_claim(row, clock) for row in connection.execute(_EXPIRE, parameters))
    for claim in expired:
        _note(connection, claim, "expire", claim.expire_us, _LEASE_RAN_OUT)
    return expired


def purge(connection: sqlite3.Connection, before_us: int, most: int) -> int:
    """Forgets claims that ended before `before_us`; see `Store.purge`."""
    return connection.execute(_PURGE, {"before": before_us, "most": most}).rowcount


def find(connection: sqlite3.Connection, key: str, value: str, clock: StoreClock) -> Claim | None:
    """The claim whose `key`, claim_id or request_id, is `value`."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM claim WHERE {key} = ?",
        (value,),
    ).fetchone()
    return None if row is None else _claim(row, clock)


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
    conditions, parameters = _conditions(wanted, _now(clock))
    if below is not None:
        conditions.append("fencing_token < :below")
        parameters["below"] = below
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM claim {where} ORDER BY fencing_token DESC LIMIT :size",
        parameters | {"size": size + 1},
    ).fetchall()
    claims = [_claim(row, clock) for row in rows[:size]]
    return ClaimPage(claims, claims[-1].fencing_token if len(rows) > size else None)


def _conditions(wanted: ClaimFilter, now: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Conditions on claims as readers see them: a lease that ran out is EXPIRED."""
    conditions = []
    parameters = dict(now)
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


def _now(clock: StoreClock) -> dict[str, Any]:
    return {"boot": clock.boot_id, "lease_now": clock.lease_us(), "wall": clock.wall_us()}


def _claim(row: Sequence[Any], clock: StoreClock) -> Claim:
    (token, claim_id, request_id, account_id, terms, positions, revision, state, *times) = row[:13]
    begin_us, expire_us, end_us, end_reason, lease_end_us = times
    if state == ClaimState.ACTIVE.name and lease_end_us <= clock.lease_us():
        state, end_us, end_reason = ClaimState.EXPIRED.name, expire_us, _LEASE_RAN_OUT
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


def _note(
    connection: sqlite3.Connection,
    claim: Claim,
    change: str,
    time_us: int,
    reason: str = "",
    *,
    forced: bool = False,
) -> None:
    connection.execute(
        _EVENT,
        {
            "token": claim.fencing_token,
            "change": change,
            "time_us": time_us,
            "expire_us": claim.expire_us,
            "reason": reason,
            "forced": forced,
        },
    )


def _decision_record(decision_id: str, verdict: Verdict) -> dict[str, Any]:
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
