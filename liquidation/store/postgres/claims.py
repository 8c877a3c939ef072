"""Claims in PostgreSQL as they change after they were granted, many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from liquidation.rules.model import Claim, ClaimState
from liquidation.store.base import ChangeResult
from liquidation.store.postgres.claim_rows import COLUMNS, claim_of
from liquidation.store.postgres.connection import Statement, Transaction
from liquidation.store.postgres.states import ACCOUNTS, ASKED, written
from liquidation.store.records import LEASE_RAN_OUT

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
