"""Claims in PostgreSQL as they are read: rows to claims, and the questions that change nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from liquidation.rules.model import Claim, ClaimEvent, ClaimState
from liquidation.store.base import BeginResult, ClaimFilter, ClaimPage, ClaimRecord
from liquidation.store.postgres.connection import Statement, Transaction
from liquidation.store.postgres.states import ASKED, bounded, is_cut, microseconds
from liquidation.store.records import claim_from, decision_from

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
