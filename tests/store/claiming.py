"""Requests for claims, as a store gets them, and rules that a test decides by."""

from collections.abc import Callable
from decimal import Decimal
from itertools import count

from liquidation.rules.checks import not_found, slot_taken
from liquidation.rules.errors import MARGIN_IS_ENOUGH
from liquidation.rules.model import (
    Claim,
    ClaimedPosition,
    Decision,
    Liquidation,
    Refusal,
    StoredState,
    Terms,
)
from liquidation.store.base import BeginRequest, BeginResult
from tests.store.awaited import AwaitedStore

LEASE_S = 30

_numbers = count(1)


def terms(liquidation_id: int = 1, ratio: str = "1") -> Terms:
    return Terms(liquidation_id, "liquidator-1", Decimal(ratio), Decimal(0))


def begin_request(
    request_id: str | None = None,
    snapshot: Liquidation | None = None,
    liquidation_id: int = 1,
    lease_s: int = LEASE_S,
) -> BeginRequest:
    number = next(_numbers)
    return BeginRequest(
        request_id=request_id or f"request-{number}",
        claim_id=f"claim-{number}",
        decision_id=f"decision-{number}",
        terms=terms(liquidation_id if snapshot is None else snapshot.liquidation_id),
        snapshot=snapshot,
        lease_us=lease_s * 1_000_000,
    )


def accept(state: StoredState) -> Decision:
    """Rules 6 and 8 alone, without the one about refreshed positions."""
    refusal = None
    if state.liquidation is None:
        refusal = not_found(1)
    elif state.active_claim is not None:
        refusal = slot_taken(state)
    return _decision(state, refusal)


def accept_all(state: StoredState) -> Decision:
    """Rules that never look whether a claim is in process: the store alone stands in the way."""
    return _decision(state, None)


def refuse(state: StoredState) -> Decision:
    return _decision(state, Refusal(MARGIN_IS_ENOUGH))


def _decision(state: StoredState, refusal: Refusal | None) -> Decision:
    revision = 0 if state.liquidation is None else state.liquidation.revision
    return Decision(
        refusal,
        "rules-1",
        total_notional="10",
        least_req_ratio="0.5",
        margin_ratio="0.01",
        maintenance_margin_ratio="0.02",
        liquidation_revision=revision,
        positions=(ClaimedPosition("PERP_BTC_USDC", "-1.5", "-1.6", "7.25"),),
    )


async def begin(
    store: AwaitedStore,
    request: BeginRequest | None = None,
    decide: Callable[[StoredState], Decision] = accept,
) -> BeginResult:
    return await store.begin(request or begin_request(), decide)


def granted(begun: BeginResult) -> Claim:
    """The claim that was granted."""
    assert begun.claim is not None
    return begun.claim
