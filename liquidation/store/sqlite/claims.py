"""Claims in SQLite as they change; every function runs inside a transaction of the caller.

The account's slot is taken by inserting the claim: the unique index on active claims lets exactly
one in, whatever the rules saw of the slot before.
"""

import sqlite3
from collections.abc import Callable

from liquidation.rules.decision import Decision, facts_of
from liquidation.rules.model import Claim, ClaimState, Liquidation, StoredState
from liquidation.store.base import (
    BeginRequest,
    BeginResult,
    ChangeResult,
    PutResult,
    StateQuery,
)
from liquidation.store.records import LEASE_RAN_OUT, account_of, claim_record, granted
from liquidation.store.sqlite import SQL
from liquidation.store.sqlite.connections import StoreClock
from liquidation.store.sqlite.rows import (
    Moment,
    claim_of,
    find,
    known,
    liquidation_of,
    now,
    open_new,
    refresh,
)
from liquidation.store.sqlite.states import Found, StateRow, look_up


def begin(
    connection: sqlite3.Connection,
    request: BeginRequest,
    decide: Callable[[StoredState], Decision],
    clock: StoreClock,
    seen: Found | None = None,
) -> BeginResult:
    """Grants the claim, all in the transaction of the caller; see `Store.begin`.

    `seen` is what was found before; the snapshot in it is not read again if it is the same.
    """
    moment = now(clock)
    query = StateQuery.about(request.terms, request.snapshot)
    row = look_up(connection, query, request.request_id, moment["lease_now"])
    if row.answered and (before := known(connection, request.request_id, clock)) is not None:
        return before
    stored, liquidation = _put_snapshot(connection, request.snapshot, row, moment["wall"], seen)
    state = StoredState(
        liquidation,
        bool(row.closed),
        bool(row.liquidator_in_liquidation) or _opens_liquidator(request, stored),
        row.active_claim(moment["lease_now"]),
        row.last_completed_revision,
    )
    decision = decide(state)
    account_id = account_of(request, state)
    expired: tuple[Claim, ...] = ()
    claim = None
    if decision.accepted and account_id is not None:
        claim = _take_slot(connection, request, account_id, decision, moment)
        if claim is None and (expired := _expire(connection, account_id, 1, moment, clock)):
            claim = _take_slot(connection, request, account_id, decision, moment)
    return BeginResult(
        claim, decision, request.decision_id, state=state, put=stored, expired=expired
    )


def _put_snapshot(
    connection: sqlite3.Connection,
    sent: Liquidation | None,
    row: StateRow,
    now_us: int,
    seen: Found | None,
) -> tuple[PutResult | None, Liquidation | None]:
    """What became of the snapshot that a request brought, and the one that is stored then.

    One of another account is not stored: the rules refuse it as a liquidation that is not known.
    """
    if sent is not None:
        # The rules and the log need what follows from it, too.
        facts_of(sent)
    if row.snapshot is None:
        stored = None if sent is None else open_new(connection, sent, now_us)
        return stored, None if stored is None else sent
    if sent is not None and _is_news(sent, row) and (stored := refresh(connection, sent)):
        return stored, sent
    there = _snapshot_in(row.snapshot, seen)
    if sent is None or sent.account_id != row.account_id:
        return None, there
    return PutResult(there, applied=False, closed=bool(row.closed)), there


def _is_news(sent: Liquidation, row: StateRow) -> bool:
    return not row.closed and (row.revision or 0) < sent.revision


def _snapshot_in(text: str, seen: Found | None) -> Liquidation:
    if seen is not None and seen.row.snapshot == text and seen.unclaimed.liquidation is not None:
        return seen.unclaimed.liquidation
    return liquidation_of(text)


def _opens_liquidator(request: BeginRequest, stored: PutResult | None) -> bool:
    return (
        stored is not None
        and stored.opened
        and stored.liquidation.account_id == request.terms.liquidator_id
    )


def _take_slot(
    connection: sqlite3.Connection,
    request: BeginRequest,
    account_id: str,
    decision: Decision,
    moment: Moment,
) -> Claim | None:
    """The claim that holds the account's slot from now on; None if slot or request_id is taken."""
    begin_us, lease_us = moment["wall"], request.lease_us
    row = (
        *claim_record(request, account_id, decision),
        moment["boot"],
        lease_us,
        moment["lease_now"] + lease_us,
        begin_us,
        begin_us + lease_us,
    )
    inserted = connection.execute(SQL["insert_claim"], row)
    token = inserted.lastrowid
    if inserted.rowcount != 1 or token is None:
        return None
    claim = granted(request, account_id, decision, token, begin_us, begin_us + lease_us)
    _note(connection, claim, "begin", begin_us)
    return claim


def renew(
    connection: sqlite3.Connection, claim_id: str, token: int, lease_us: int, clock: StoreClock
) -> ChangeResult:
    """Extends an active claim's lease; see `Store.renew`."""
    parameters = now(clock) | {"claim_id": claim_id, "token": token, "lease_us": lease_us}
    row = connection.execute(SQL["renew_claim"], parameters).fetchone()
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
    row = connection.execute(SQL["end_claim"], parameters).fetchone()
    if row is None:
        return ChangeResult(find(connection, "claim_id", claim_id, clock), applied=False)
    claim = claim_of(row, clock)
    if state is ClaimState.COMPLETED:
        connection.execute(
            SQL["settle"], {"account_id": claim.account_id, "revision": claim.liquidation_revision}
        )
    change = "complete" if state is ClaimState.COMPLETED else "cancel"
    _note(connection, claim, change, parameters["wall"], reason, forced=token is None)
    return ChangeResult(claim, applied=True)


def expire(connection: sqlite3.Connection, most: int, clock: StoreClock) -> tuple[Claim, ...]:
    """Writes down leases that ran out; see `Store.expire`."""
    return _expire(connection, None, most, now(clock), clock)


def _expire(
    connection: sqlite3.Connection,
    account_id: str | None,
    most: int,
    moment: Moment,
    clock: StoreClock,
) -> tuple[Claim, ...]:
    parameters = moment | {"account_id": account_id, "most": most}
    expired = tuple(
        claim_of(row, clock) for row in connection.execute(SQL["expire_claims"], parameters)
    )
    for claim in expired:
        _note(connection, claim, "expire", claim.expire_us, LEASE_RAN_OUT)
    return expired


def purge(connection: sqlite3.Connection, before_us: int, most: int) -> int:
    """Forgets claims that ended before `before_us`; see `Store.purge`."""
    return connection.execute(SQL["purge_claims"], {"before": before_us, "most": most}).rowcount


def rebase_leases(connection: sqlite3.Connection, clock: StoreClock) -> None:
    """Carries leases that were begun before the host started again over to its new boot clock.

    Only the wall clock goes on over a restart. However it was set meanwhile, no lease runs on for
    longer than it was given.
    """
    connection.execute(SQL["rebase_leases"], now(clock))


def _note(
    connection: sqlite3.Connection,
    claim: Claim,
    change: str,
    time_us: int,
    reason: str = "",
    *,
    forced: bool = False,
) -> None:
    row = (claim.fencing_token, change, time_us, claim.expire_us, reason, forced)
    connection.execute(SQL["insert_event"], row)
