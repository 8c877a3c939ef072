"""Claims in PostgreSQL: as they are read, and as they change after they were granted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from liquidation.rules.model import Claim, ClaimEvent, ClaimState
from liquidation.store.base import ChangeResult, ClaimFilter, ClaimPage, ClaimRecord
from liquidation.store.postgres import SQL
from liquidation.store.postgres.connection import Transaction
from liquidation.store.postgres.rows import (
    bounded,
    is_cut,
    written,
)
from liquidation.store.records import claim_from, microseconds

# One statement, and so one moment: each column of the claim's events is an array.
_EVENTS: Final = ", ".join(
    f"""
    ARRAY(SELECT event.{column} FROM claim_event AS event
          WHERE event.fencing_token = claim.fencing_token ORDER BY event.event_id)
    """
    for column in ("change", "time", "expire_time", "reason", "forced")
)
_RECORD: Final = f"SELECT {SQL['claim_columns']}, {_EVENTS} FROM claim WHERE {{key}} = %(value)s"
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
    """The claim in a row of `claim_columns` as it stands now: a lease that ran out is EXPIRED."""
    begin, expire, end, now = row[9:13]
    return claim_from(
        row[:9],
        microseconds(begin),
        microseconds(expire),
        None if end is None else microseconds(end),
        over=expire <= now,
    )


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
    statement = bounded(
        found, SQL["claim_columns"], ("terms", "positions"), "claim", "fencing_token DESC"
    )
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
    (((count,),),) = await transaction.ask((SQL["count_active"], {}), commit=True)
    return int(count)


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
        (SQL["lock_accounts_of_claims"], sent),
        (SQL["change_claims"], sent),
        (SQL["changed_claims"], sent),
        commit=True,
    )
    applied = {n for (n,) in changed}
    known = {claim.claim_id: claim for claim in map(claim_of, stands)}
    return [
        ChangeResult(known.get(each.claim_id), applied=n in applied)
        for n, each in enumerate(changes)
    ]


async def expire(transaction: Transaction, most: int) -> tuple[Claim, ...]:
    """Writes down leases that ran out; see `Store.expire`."""
    over, _ = await transaction.ask(
        (SQL["expire_some"], {"most": most}), (SQL["write_something"], {}), commit=True
    )
    return tuple(map(claim_of, over))


async def purge(transaction: Transaction, retention_us: int, most: int) -> int:
    """Forgets claims that ended; see `Store.purge`."""
    parameters = {"retention_us": retention_us, "most": most}
    (purged,) = await transaction.ask((SQL["purge_claims"], parameters), commit=True)
    return len(purged)
