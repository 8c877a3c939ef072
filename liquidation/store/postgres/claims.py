"""Claims in PostgreSQL: as they are read, and as they change after they were granted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from liquidation.rules.model import Claim, ClaimEvent, ClaimState
from liquidation.store.base import BeginResult, ChangeResult, ClaimFilter, ClaimPage, ClaimRecord
from liquidation.store.postgres.connection import Statement, Transaction
from liquidation.store.postgres.states import (
    ACCOUNTS,
    ASKED,
    bounded,
    is_cut,
    written,
)
from liquidation.store.records import LEASE_RAN_OUT, claim_from, decision_from, microseconds

# The server's clock is read with the claim: by it a lease has run out, or has not.
COLUMNS: Final = """
    claim.fencing_token, claim.claim_id, claim.request_id, claim.account_id, claim.terms,
    claim.positions, claim.revision, claim.state, claim.end_reason,
    claim.begin_time, claim.expire_time, claim.end_time, clock_timestamp()
"""
_KNOWN: Final = f"""
    WITH {ASKED}
    SELECT {COLUMNS}, claim.decision FROM claim
    WHERE claim.request_id = ANY (ARRAY(SELECT asked.request_id FROM asked))
"""
# One statement, and so one moment: each column of the claim's events is an array.
_EVENTS: Final = ", ".join(
    f"""
    ARRAY(SELECT event.{column} FROM claim_event AS event
          WHERE event.fencing_token = claim.fencing_token ORDER BY event.event_id)
    """
    for column in ("change", "time", "expire_time", "reason", "forced")
)
_RECORD: Final = f"SELECT {COLUMNS}, {_EVENTS} FROM claim WHERE {{key}} = %(value)s"
_COUNT_ACTIVE: Final = """
    SELECT count(*) FROM claim WHERE state = 'ACTIVE' AND expire_time > clock_timestamp()
"""
# A claim whose state is asked for, as readers see it: a lease that ran out is EXPIRED.
_IN_STATE: Final = {
    ClaimState.ACTIVE: "state = 'ACTIVE' AND expire_time > clock_timestamp()",
    ClaimState.EXPIRED: (
        "(state = 'EXPIRED' OR (state = 'ACTIVE' AND expire_time <= clock_timestamp()))"
    ),
    ClaimState.COMPLETED: "state = 'COMPLETED'",
    ClaimState.CANCELLED: "state = 'CANCELLED'",
}


def claim_of(row: Sequence[Any]) -> Claim:
    """The claim in a row of `COLUMNS`, as it stands now: a lease that ran out is EXPIRED."""
    begin, expire, end, now = row[9:13]
    return claim_from(
        row[:9],
        microseconds(begin),
        microseconds(expire),
        None if end is None else microseconds(end),
        over=expire <= now,
    )


def known_requests(asked: Mapping[str, Any]) -> Statement:
    """What the request_ids that are asked about got before."""
    return _KNOWN, asked


def known_from(row: Sequence[Any]) -> BeginResult:
    """What a row of `known_requests` says."""
    claim = claim_of(row)
    decision_id, decision = decision_from(row[-1], claim)
    return BeginResult(claim, decision, decision_id, known=True)


async def record(transaction: Transaction, key: str, value: str) -> ClaimRecord | None:
    """A claim by one of its ids, with its history; see `Store.claim`."""
    (rows,) = await transaction.ask((_RECORD.format(key=key), {"value": value}), commit=True)
    if not rows:
        return None
    (row,) = rows
    events = zip(*row[-5:], strict=True)
    return ClaimRecord(
        claim_of(row),
        [
            ClaimEvent(change, microseconds(time), microseconds(expire), reason, forced)
            for change, time, expire, reason, forced in events
        ],
    )


async def page(
    transaction: Transaction, wanted: ClaimFilter, below: int | None, size: int
) -> ClaimPage:
    """A page of claims, newest first; see `Store.claims`."""
    conditions = ["true"]
    if wanted.account_id:
        conditions.append("account_id = %(account_id)s")
    if wanted.liquidation_id:
        conditions.append("liquidation_id = %(liquidation_id)s")
    if wanted.state is not None:
        conditions.append(_IN_STATE[wanted.state])
    if below is not None:
        conditions.append("fencing_token < %(below)s")
    found = f"""
        SELECT * FROM claim WHERE {" AND ".join(conditions)}
        ORDER BY fencing_token DESC LIMIT %(size)s
    """
    statement = bounded(found, COLUMNS, ("terms", "positions"), "claim", "fencing_token DESC")
    parameters = {
        "account_id": wanted.account_id,
        "liquidation_id": wanted.liquidation_id,
        "below": below,
        "size": size + 1,
    }
    (rows,) = await transaction.ask((statement, parameters), commit=True)
    claims = [claim_of(row) for row in rows[:size]]
    return ClaimPage(claims, claims[-1].fencing_token if is_cut(rows, claims) else None)


async def count_active(transaction: Transaction) -> int:
    """How many claims hold a slot now; see `Store.count_active`."""
    (((count,),),) = await transaction.ask((_COUNT_ACTIVE, {}), commit=True)
    return int(count)


_OVER: Final = f"""
    over AS (
        UPDATE claim SET state = 'EXPIRED', end_time = expire_time, end_reason = '{LEASE_RAN_OUT}'
        WHERE {{which}} AND expire_time <= clock_timestamp()
        RETURNING {COLUMNS}
    ), noted AS (
        INSERT INTO claim_event (fencing_token, change, time, expire_time, reason, forced)
        SELECT fencing_token, 'expire', end_time, expire_time, end_reason, false FROM over
    )
    SELECT * FROM over
"""
_EXPIRE_ACCOUNTS: Final = f"WITH {ASKED}, " + _OVER.format(
    which=f"account_id = ANY (ARRAY({ACCOUNTS})) AND state = 'ACTIVE'"
)
# Those that others are at are theirs.
_EXPIRE_SOME: Final = "WITH " + _OVER.format(
    which="""
        fencing_token = ANY (ARRAY(
            SELECT fencing_token FROM claim
            WHERE end_time IS NULL AND expire_time <= (SELECT clock_timestamp())
            LIMIT %(most)s FOR UPDATE SKIP LOCKED
        )) AND state = (SELECT 'ACTIVE')
    """
)
# A commit that has nothing to write waits for no disk and for no standby: this one has, so that the
# background, which expires claims all the time, finds out whether writes are taken.
_WRITES: Final = "SELECT 1 FROM account LIMIT 1 FOR KEY SHARE SKIP LOCKED"
_CHANGES: Final = """
    sent AS (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS sent (
            n integer, claim_id text, token bigint, lease_us bigint, state text, reason text
        )
    )
"""
_LOCK_ACCOUNTS: Final = f"""
    WITH {_CHANGES}
    SELECT account_id FROM account
    WHERE account_id = ANY (ARRAY(
        SELECT account_id FROM claim
        WHERE claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))
    ))
    ORDER BY account_id FOR UPDATE
"""
# Of several changes to one claim one is applied; the others find it changed. An account has one
# active claim, so that one at most completes. `(SELECT 'ACTIVE')` is no constant, for which the
# planner would go through the index of all active claims.
_CHANGE: Final = f"""
    WITH {_CHANGES}, moment AS MATERIALIZED (SELECT clock_timestamp() AS now), changed AS (
        UPDATE claim SET
            state = coalesce(sent.state, claim.state),
            end_time = CASE WHEN sent.state IS NOT NULL THEN now END,
            end_reason = coalesce(sent.reason, claim.end_reason),
            expire_time = coalesce(now + sent.lease_us * interval '1 microsecond',
                                   claim.expire_time)
        FROM sent CROSS JOIN moment
        WHERE claim.claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))
          AND claim.claim_id = sent.claim_id
          AND (sent.token IS NULL OR claim.fencing_token = sent.token)
          AND claim.state = (SELECT 'ACTIVE') AND claim.expire_time > now
        RETURNING sent.n, now, sent.token IS NULL AS forced, {COLUMNS}
    ), settled AS (
        UPDATE account
        SET completed_revision = greatest(coalesce(account.completed_revision, 0), changed.revision)
        FROM changed
        WHERE changed.state = 'COMPLETED' AND account.account_id = changed.account_id
    ), noted AS (
        INSERT INTO claim_event (fencing_token, change, time, expire_time, reason, forced)
        SELECT fencing_token,
               CASE state WHEN 'ACTIVE' THEN 'renew' WHEN 'COMPLETED' THEN 'complete'
                          ELSE 'cancel' END,
               now, expire_time, end_reason, forced
        FROM changed
    )
    SELECT n FROM changed
"""
_STAND: Final = f"""
    WITH {_CHANGES}
    SELECT {COLUMNS} FROM claim WHERE claim.claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))
"""
_PURGE: Final = """
    DELETE FROM claim WHERE fencing_token IN (
        SELECT fencing_token FROM claim
        WHERE end_time
            < (SELECT clock_timestamp() - %(retention_us)s * interval '1 microsecond')
        LIMIT %(most)s FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A renewal by `lease_us`, or an end in `state`; a `token` of None fits every claim."""

    claim_id: str
    token: int | None
    lease_us: int | None = None
    state: ClaimState | None = None
    reason: str | None = None


async def change_all(transaction: Transaction, changes: Sequence[Change]) -> list[ChangeResult]:
    """What became of each change, in order; see `Store.renew` and `Store.end`."""
    rows = [
        {
            "n": n,
            "claim_id": each.claim_id,
            "token": each.token,
            "lease_us": each.lease_us,
            "state": None if each.state is None else each.state.name,
            "reason": each.reason,
        }
        for n, each in enumerate(changes)
    ]
    sent = {"rows": written(rows)}
    _, changed, stands = await transaction.ask(
        (_LOCK_ACCOUNTS, sent), (_CHANGE, sent), (_STAND, sent), commit=True
    )
    applied = {n for (n,) in changed}
    known = {claim.claim_id: claim for claim in map(claim_of, stands)}
    return [
        ChangeResult(known.get(each.claim_id), applied=n in applied)
        for n, each in enumerate(changes)
    ]


def expire_accounts(asked: Mapping[str, Any]) -> Statement:
    """Writes down the leases that ran out on the accounts that are asked about."""
    return _EXPIRE_ACCOUNTS, asked


async def expire(transaction: Transaction, most: int) -> tuple[Claim, ...]:
    """Writes down leases that ran out; see `Store.expire`."""
    over, _ = await transaction.ask((_EXPIRE_SOME, {"most": most}), (_WRITES, {}), commit=True)
    return tuple(map(claim_of, over))


async def purge(transaction: Transaction, retention_us: int, most: int) -> int:
    """Forgets claims that ended; see `Store.purge`."""
    parameters = {"retention_us": retention_us, "most": most}
    (purged,) = await transaction.ask((_PURGE, parameters), commit=True)
    return len(purged)
