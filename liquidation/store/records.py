"""What every engine stores in the same form: claims and the decisions that granted them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from liquidation.rules.model import Claim, ClaimState, Decision, Liquidation, StoredState
from liquidation.rules.numbers import plain
from liquidation.rules.record import (
    claimed_positions_from_record,
    claimed_positions_record,
    liquidation_record,
    terms_from_record,
    terms_record,
)
from liquidation.store.base import BeginRequest

__all__ = [
    "LEASE_RAN_OUT",
    "account_of",
    "claim_from",
    "claim_record",
    "granted",
    "is_news",
    "liquidation_text",
    "verdict_from",
]

LEASE_RAN_OUT: Final = "The lease ran out."


def liquidation_text(liquidation: Liquidation) -> str:
    """A snapshot as JSON text."""
    return orjson.dumps(liquidation_record(liquidation)).decode()


def is_news(snapshot: Liquidation | None, state: StoredState) -> bool:
    """Whether a snapshot that a request brought would be stored."""
    if snapshot is None or state.closed:
        return False
    return state.liquidation is None or state.liquidation.revision < snapshot.revision


def account_of(request: BeginRequest, state: StoredState) -> str | None:
    """Whose slot a request is about; None where no liquidation is known."""
    if request.snapshot is not None:
        return request.snapshot.account_id
    return None if state.liquidation is None else state.liquidation.account_id


def claim_record(request: BeginRequest, account_id: str, verdict: Decision) -> dict[str, Any]:
    """What is stored of a claim that is granted, but for its times; three values are JSON text."""
    return {
        "claim_id": request.claim_id,
        "request_id": request.request_id,
        "account_id": account_id,
        "liquidation_id": request.terms.liquidation_id,
        "revision": verdict.liquidation_revision,
        "terms": orjson.dumps(terms_record(request.terms)).decode(),
        "positions": orjson.dumps(claimed_positions_record(verdict.positions)).decode(),
        "decision": orjson.dumps(_decision_record(request.decision_id, verdict)).decode(),
        "lease_us": request.lease_us,
    }


def granted(
    request: BeginRequest,
    account_id: str,
    verdict: Decision,
    fencing_token: int,
    begin_us: int,
    expire_us: int,
) -> Claim:
    """The claim that was just stored."""
    return Claim(
        claim_id=request.claim_id,
        request_id=request.request_id,
        account_id=account_id,
        terms=request.terms,
        liquidation_revision=verdict.liquidation_revision,
        fencing_token=fencing_token,
        state=ClaimState.ACTIVE,
        positions=verdict.positions,
        begin_us=begin_us,
        expire_us=expire_us,
    )


def claim_from(
    row: Sequence[Any], begin_us: int, expire_us: int, end_us: int | None, *, over: bool
) -> Claim:
    """The claim in a row, as it stands now.

    `row` is fencing_token, claim_id, request_id, account_id, terms, positions, revision, state,
    end_reason; terms and positions are records. `over` tells that its lease has run out, whatever
    is written down: then it is EXPIRED.
    """
    token, claim_id, request_id, account_id, terms, positions, revision, state, reason = row
    if over and state == ClaimState.ACTIVE.name:
        state, end_us, reason = ClaimState.EXPIRED.name, expire_us, LEASE_RAN_OUT
    return Claim(
        claim_id=claim_id,
        request_id=request_id,
        account_id=account_id,
        terms=terms_from_record(terms),
        liquidation_revision=revision,
        fencing_token=token,
        state=ClaimState[state],
        positions=claimed_positions_from_record(positions),
        begin_us=begin_us,
        expire_us=expire_us,
        end_us=end_us,
        end_reason=reason,
    )


def _decision_record(decision_id: str, verdict: Decision) -> dict[str, Any]:
    """What of a decision the same request_id is told again."""
    numbers = (
        verdict.total_notional,
        verdict.least_req_ratio,
        verdict.margin_ratio,
        verdict.maintenance_margin_ratio,
    )
    return {
        "decision_id": decision_id,
        "rules_version": verdict.rules_version,
        "numbers": [None if number is None else plain(number) for number in numbers],
    }


def verdict_from(record: Mapping[str, Any], claim: Claim) -> tuple[str, Decision]:
    """The id of the decision that granted a claim, and the decision."""
    total, least, margin, maintenance = (
        None if text is None else Decimal(text) for text in record["numbers"]
    )
    verdict = Decision(
        refusal=None,
        rules_version=record["rules_version"],
        total_notional=total,
        least_req_ratio=least,
        margin_ratio=margin,
        maintenance_margin_ratio=maintenance,
        liquidation_revision=claim.liquidation_revision,
        account_id=claim.account_id,
    )
    return record["decision_id"], verdict
