"""Claims in SQLite as they change; every function runs inside a transaction of the caller.

The account's slot is taken by inserting the claim: the unique index on active claims lets exactly
one in. Nothing here looks whether the slot is free before it takes it.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from liquidation.rules.model import Claim, ClaimState, Decision, StoredState
from liquidation.store.base import (
    AccountMismatchError,
    BeginRequest,
    BeginResult,
    ChangeResult,
    PutResult,
    StateQuery,
)
from liquidation.store.records import LEASE_RAN_OUT, account_of, claim_record, granted
from liquidation.store.sqlite.claim_rows import COLUMNS, active_claim, claim_of, find, known, now
from liquidation.store.sqlite.clock import StoreClock
from liquidation.store.sqlite.liquidations import put
from liquidation.store.sqlite.states import unclaimed

__all__ = ["begin", "end", "expire", "purge", "rebase_leases", "renew"]

_INSERT: Final = """
    INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms,
                       positions, decision, state, lease_boot, lease_us, lease_end_us, begin_us,
                       expire_us)
    VALUES (:claim_id, :request_id, :account_id, :liquidation_id, :revision, :terms, :positions,
            :decision, 'ACTIVE', :boot, :lease_us, :lease_now + :lease_us, :wall,
            :wall + :lease_us)
    ON CONFLICT DO NOTHING
    RETURNING fencing_token
"""
_EXPIRE: Final = f"""
    UPDATE claim SET state = 'EXPIRED', end_us = expire_us, end_reason = '{LEASE_RAN_OUT}'
    WHERE fencing_token IN (
        SELECT fencing_token FROM claim
        WHERE state = 'ACTIVE' AND lease_end_us <= :lease_now
          AND (:account_id IS NULL OR account_id = :account_id)
        LIMIT :most
    )
    RETURNING {COLUMNS}
"""
_RENEW: Final = f"""
    UPDATE claim SET lease_us = :lease_us, lease_end_us = :lease_now + :lease_us,
                     expire_us = :wall + :lease_us
    WHERE claim_id = :claim_id AND fencing_token = :token
      AND state = 'ACTIVE' AND lease_end_us > :lease_now
    RETURNING {COLUMNS}
"""
_END: Final = f"""
    UPDATE claim SET state = :state, end_us = :wall, end_reason = :reason
    WHERE claim_id = :claim_id AND (:token IS NULL OR fencing_token = :token)
      AND state = 'ACTIVE' AND lease_end_us > :lease_now
    RETURNING {COLUMNS}
"""
_SETTLE: Final = """
    INSERT INTO settled (account_id, revision) VALUES (:account_id, :revision)
    ON CONFLICT (account_id) DO UPDATE SET revision = max(revision, excluded.revision)
"""
_EVENT: Final = """
    INSERT INTO claim_event (fencing_token, change, time_us, expire_us, reason, forced)
    VALUES (:token, :change, :time_us, :expire_us, :reason, :forced)
"""
_REBASE: Final = """
    UPDATE claim SET lease_boot = :boot,
                     lease_end_us = :lease_now + min(expire_us - :wall, lease_us)
    WHERE state = 'ACTIVE' AND lease_boot <> :boot
"""
_PURGE: Final = """
    DELETE FROM claim WHERE fencing_token IN (
        SELECT fencing_token FROM claim WHERE end_us < :before LIMIT :most
    )
"""


def begin(
    connection: sqlite3.Connection,
    request: BeginRequest,
    decide: Callable[[StoredState], Decision],
    clock: StoreClock,
) -> BeginResult:
    """Grants the claim, all in the transaction of the caller; see `Store.begin`."""
    stored = _put_snapshot(connection, request, clock)
    fresh = request.snapshot if stored is not None and stored.applied else None
    query = StateQuery.about(request.terms, request.snapshot)
    # Decided as if the slot were free: whether it is, the insert tells, and nothing else.
    state = unclaimed(connection, query, clock, fresh)
    verdict = decide(state)
    account_id = account_of(request, state)
    expired: tuple[Claim, ...] = ()
    claim = None
    if verdict.accepted and account_id is not None:
        claim = _take_slot(connection, request, account_id, verdict, clock)
        if claim is None and (expired := expire(connection, account_id, 1, clock)):
            claim = _take_slot(connection, request, account_id, verdict, clock)
    if claim is None:
        if (before := known(connection, request.request_id, clock)) is not None:
            return before
        if account_id is not None:
            # A claim in process is told before what the later rules have against this one.
            holder = active_claim(connection, account_id, clock)
            state = replace(state, active_claim=holder)
            verdict = decide(state)
    return BeginResult(
        claim, verdict, request.decision_id, state=state, put=stored, expired=expired
    )


def _put_snapshot(
    connection: sqlite3.Connection, request: BeginRequest, clock: StoreClock
) -> PutResult | None:
    if request.snapshot is None:
        return None
    try:
        (stored,) = put(connection, [request.snapshot], clock.wall_us())
    except AccountMismatchError:
        # Nothing was stored, and the rules refuse it as a liquidation that is not known.
        return None
    return stored


def _take_slot(
    connection: sqlite3.Connection,
    request: BeginRequest,
    account_id: str,
    verdict: Decision,
    clock: StoreClock,
) -> Claim | None:
    """The claim that holds the account's slot from now on; None where the slot is taken.

    None too where the request_id is: then no second claim may come of it.
    """
    moment = now(clock)
    row = connection.execute(
        _INSERT, moment | claim_record(request, account_id, verdict)
    ).fetchone()
    if row is None:
        return None
    expire_us = moment["wall"] + request.lease_us
    claim = granted(request, account_id, verdict, row[0], moment["wall"], expire_us)
    _note(connection, claim, "begin", claim.begin_us)
    return claim


def renew(
    connection: sqlite3.Connection, claim_id: str, token: int, lease_us: int, clock: StoreClock
) -> ChangeResult:
    """Extends an active claim's lease; see `Store.renew`."""
    parameters = now(clock) | {"claim_id": claim_id, "token": token, "lease_us": lease_us}
    row = connection.execute(_RENEW, parameters).fetchone()
    if row is None:
        return ChangeResult(find(connection, "claim_id", claim_id, clock), applied=False)
    claim = claim_of(row, clock)
    _note(connection, claim, "renew", parameters["wall"])
    return ChangeResult(claim, applied=True)


def end(
    connection: sqlite3.Connection,
    claim_id: str,
    token: int | None,
    state: ClaimState,
    reason: str,
    clock: StoreClock,
) -> ChangeResult:
    """Ends an active claim; see `Store.end`."""
    parameters = now(clock) | {
        "claim_id": claim_id,
        "token": token,
        "state": state.name,
        "reason": reason,
    }
    row = connection.execute(_END, parameters).fetchone()
    if row is None:
        return ChangeResult(find(connection, "claim_id", claim_id, clock), applied=False)
    claim = claim_of(row, clock)
    if state is ClaimState.COMPLETED:
        connection.execute(
            _SETTLE, {"account_id": claim.account_id, "revision": claim.liquidation_revision}
        )
    change = "complete" if state is ClaimState.COMPLETED else "cancel"
    _note(connection, claim, change, parameters["wall"], reason, forced=token is None)
    return ChangeResult(claim, applied=True)


def expire(
    connection: sqlite3.Connection, account_id: str | None, most: int, clock: StoreClock
) -> tuple[Claim, ...]:
    """Writes down leases that ran out, of one account or of all; see `Store.expire`."""
    parameters = now(clock) | {"account_id": account_id, "most": most}
    expired = tuple(claim_of(row, clock) for row in connection.execute(_EXPIRE, parameters))
    for claim in expired:
        _note(connection, claim, "expire", claim.expire_us, LEASE_RAN_OUT)
    return expired


def purge(connection: sqlite3.Connection, before_us: int, most: int) -> int:
    """Forgets claims that ended before `before_us`; see `Store.purge`."""
    return connection.execute(_PURGE, {"before": before_us, "most": most}).rowcount


def rebase_leases(connection: sqlite3.Connection, clock: StoreClock) -> None:
    """Carries leases that were begun before the host started again over to its new boot clock.

    Only the wall clock goes on over a restart. However it was set meanwhile, no lease runs on for
    longer than it was given.
    """
    connection.execute(_REBASE, now(clock))


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
