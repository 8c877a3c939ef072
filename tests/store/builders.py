"""Snapshots, requests for claims and rules to decide by, as a store is given them."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

from liquidation.rules.checks import not_found, slot_taken
from liquidation.rules.decision import Decision
from liquidation.rules.errors import MARGIN_IS_ENOUGH
from liquidation.rules.margin import margin_ratios
from liquidation.rules.model import (
    Claim,
    ClaimedPosition,
    Liquidation,
    MarginAccount,
    MarginPosition,
    Position,
    Refusal,
    StoredState,
    Terms,
    Tier,
)
from liquidation.store.base import BeginRequest, BeginResult, StateQuery
from tests.store.stores import AwaitedStore

LEASE_S = 30
PLAIN = Liquidation(
    liquidation_id=1,
    account_id="account-1",
    tier=Tier.LOW,
    positions=(
        Position("PERP_BTC_USDC", Decimal("0.000000000000000001"), Decimal(999999999999999999)),
        Position("PERP_ETH_USDC", Decimal("-12.5"), Decimal("2500.25")),
    ),
    margin_ratio=Decimal("-0.01"),
    maintenance_margin_ratio=Decimal("0.012"),
    revision=1,
    snapshot_time_ns=1_800_000_000_123_456_789,
)

_numbers = count(1)


def snapshot(liquidation_id: int = 1, revision: int = 1, **changes: Any) -> Liquidation:
    """A snapshot like PLAIN."""
    return replace(PLAIN, liquidation_id=liquidation_id, revision=revision, **changes)


def of_account(number: int, revision: int = 1) -> Liquidation:
    """The liquidation of that number, each of an account of its own."""
    return snapshot(number, revision, account_id=f"account-{number}")


def with_account() -> Liquidation:
    """A snapshot whose ratios are computed from its account, and have no last digit."""
    rows = (
        ("PERP_BTC_USDC", "7", "3", "0.012", "0.02", "0.01"),
        ("PERP_SOL_USDC", "-9", "1.1", "0.03", "0.07", "0"),
    )
    positions = tuple(MarginPosition(symbol, *map(Decimal, row)) for symbol, *row in rows)
    account = MarginAccount(Decimal(100), positions, None)
    margin, maintenance = margin_ratios(account)
    return replace(
        PLAIN, account=account, margin_ratio=margin, maintenance_margin_ratio=maintenance
    )


def terms(liquidation_id: int = 1, ratio: str = "1") -> Terms:
    return Terms(liquidation_id, "liquidator-1", Decimal(ratio), Decimal(0))


def begin_request(
    request_id: str | None = None,
    snapshot: Liquidation | None = None,
    liquidation_id: int = 1,
    lease_s: int = LEASE_S,
) -> BeginRequest:
    """A request for a claim, with ids that were not used before."""
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
    """Rules that never look whether a claim is in process: only the store stands in the way."""
    return _decision(state, None)


def refuse(state: StoredState) -> Decision:
    return _decision(state, Refusal(MARGIN_IS_ENOUGH))


class Noting:
    """Rules that note the states that they are asked about."""

    def __init__(self, decide: Callable[[StoredState], Decision] = refuse) -> None:
        self.seen: list[StoredState] = []
        self._decide = decide

    def __call__(self, state: StoredState) -> Decision:
        self.seen.append(state)
        return self._decide(state)


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


async def state_of(
    store: AwaitedStore, liquidation_id: int = 1, liquidator_id: str = "nobody"
) -> StoredState:
    (found,) = await store.states([StateQuery(liquidation_id, liquidator_id)])
    return found


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


async def claimed(
    store: AwaitedStore,
    liquidation_id: int = 1,
    decide: Callable[[StoredState], Decision] = accept,
    **request: Any,
) -> Claim:
    """A new claim on a liquidation."""
    asked = begin_request(liquidation_id=liquidation_id, **request)
    return granted(await begin(store, asked, decide))
