"""What each rule tells with its refusal: the row, the field, the numbers, and what it is about."""

from decimal import Decimal
from typing import Any

import pytest

from liquidation.rules import errors
from liquidation.rules.checks import not_found, slot_taken, unknown_parameter, wrong_format
from liquidation.rules.model import ActiveClaim, FieldViolation, Refusal, StoredState
from tests import samples
from tests.unit.deciding import decision_on

Json = dict[str, Any]

WITHIN = "must be within 0 and 1"
SECOND = Decimal(1)
ONE_SYMBOL = [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": "1.5"}]
FULL_AND_HALF = [
    {"symbol": "PERP_SOL_USDC", "ratio_qty_request": "1"},
    {"symbol": "PERP_DOGE_USDC", "ratio_qty_request": "0.5"},
]


def _shape(field: str, words: str) -> Refusal:
    return Refusal(errors.WRONG_FORMAT, "tier_shape", violations=(FieldViolation(field, words),))


REFUSALS: dict[str, tuple[Json, Refusal]] = {
    "a ratio out of its range": (
        samples.low_request({"ratio_qty_request": "-0.10"}),
        Refusal(
            errors.RATIO_OUT_OF_RANGE, "ratio_qty_request_range", {"ratio_qty_request": "-0.1"},
            (FieldViolation("terms.ratio_qty_request", WITHIN),),
        ),
    ),
    "a symbol's ratio out of its range": (
        samples.high_request({"symbols": ONE_SYMBOL}),
        Refusal(
            errors.RATIO_OUT_OF_RANGE, "ratio_qty_request_range", {"ratio_qty_request": "1.5"},
            (FieldViolation("terms.symbols[0].ratio_qty_request", WITHIN),),
        ),
    ),
    "an extra ratio out of its range": (
        samples.low_request({"extra_liquidation_ratio": "1.1"}),
        Refusal(
            errors.EXTRA_OUT_OF_RANGE, "extra_liquidation_ratio_range",
            {"extra_liquidation_ratio": "1.1"},
            (FieldViolation("terms.extra_liquidation_ratio", WITHIN),),
        ),
    ),
    "an extra ratio beside a part": (
        samples.high_request({"symbols": FULL_AND_HALF, "extra_liquidation_ratio": "0.1"}),
        Refusal(
            errors.EXTRA_NEEDS_FULL_RATIO, "extra_needs_full_ratio",
            {"extra_liquidation_ratio": "0.1", "ratio_qty_request": "0.5"},
            (
                FieldViolation(
                    "terms.symbols[1].ratio_qty_request", "must be 1 beside an extra ratio"
                ),
            ),
        ),
    ),
    "no liquidation": (
        {"terms": samples.low_terms()},
        Refusal(
            errors.LIQUIDATION_NOT_FOUND, "liquidation_known", {"liquidation_id": "101"},
            subject="liquidations/101", not_found=("liquidation.v1.Liquidation", "101"),
        ),
    ),
    "symbols on LOW": (
        samples.low_request({"ratio_qty_request": "", "symbols": FULL_AND_HALF}),
        _shape("terms.symbols", "must be empty: tier LOW takes one ratio for all positions"),
    ),
    "no symbols on HIGH": (
        samples.high_request({"symbols": [], "ratio_qty_request": "1"}),
        _shape("terms.symbols", "is required: tier HIGH takes one ratio for each symbol"),
    ),
    "a symbol that is not listed": (
        samples.high_request(
            {"symbols": [*FULL_AND_HALF, {"symbol": "PERP_X_USDC", "ratio_qty_request": "1"}]}
        ),
        _shape("terms.symbols[2].symbol", "is not a position of the liquidation"),
    ),
    "a limit for a symbol that is not listed": (
        samples.low_request({"limit_price": {"PERP_X_USDC": "1"}}),
        _shape("terms.limit_price", "names a symbol that is not one of the liquidation"),
    ),
    "the liquidated account itself": (
        samples.low_request({"liquidator_id": "account-low"}),
        Refusal(
            errors.LIQUIDATOR_IN_LIQUIDATION, "liquidator_not_in_liquidation",
            retry_after_s=SECOND,
        ),
    ),
    "margin enough": (
        samples.low_request(liquidation={"margin_ratio": "0.0120"}),
        Refusal(
            errors.MARGIN_IS_ENOUGH, "margin_below_maintenance",
            {"margin_ratio": "0.012", "maintenance_margin_ratio": "0.012"},
            subject="accounts/account-low",
        ),
    ),
    "less than the whole of too little": (
        samples.high_request(
            {"symbols": FULL_AND_HALF[1:]},
            {"positions": [
                {"symbol": "PERP_DOGE_USDC", "position_qty": "-8000", "mark_price": "0.1"}]},
        ),
        Refusal(
            errors.TOTAL_BELOW_THRESHOLD, "least_request_ratio",
            {"least_req_ratio": "1", "total_notional": "800", "min_claim_notional": "5000",
             "symbol": "PERP_DOGE_USDC"},
            subject="liquidations/202/positions/PERP_DOGE_USDC",
        ),
    ),
    "too small a part of the total": (
        samples.low_request({"ratio_qty_request": "0.3333"}),
        Refusal(
            errors.RATIO_TOO_SMALL, "least_request_ratio",
            {"least_req_ratio": "0.3334", "total_notional": "30000",
             "min_claim_notional": "10000"},
            subject="liquidations/101",
        ),
    ),
    "a limit that is crossed": (
        samples.low_request({"limit_price": {"PERP_ETH_USDC": "2500.5"}}),
        Refusal(
            errors.LIMIT_PRICE_CROSSED, "limit_price",
            {"symbol": "PERP_ETH_USDC", "mark_price": "2500", "limit_price": "2500.5"},
            subject="liquidations/101/positions/PERP_ETH_USDC",
        ),
    ),
    "a claimed symbol that the liquidator does not list": (
        samples.low_request(liquidator=samples.liquidator(
            positions=[samples.margin_position("PERP_BTC_USDC")])),
        Refusal(
            errors.WRONG_FORMAT, "liquidator_margin",
            violations=(
                FieldViolation("liquidator.account.positions", "must list every claimed symbol"),),
        ),
    ),
    "a margin that would not suffice": (
        samples.low_request(liquidator=samples.liquidator(collateral_value="2999.90")),
        Refusal(
            errors.MARGIN_INSUFFICIENT, "liquidator_margin",
            {"initial_margin_after": "3000", "collateral_value": "2999.9"},
            subject="accounts/liquidator-1",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "refusal"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_tells_what_it_was_made_from(request_: Json, refusal: Refusal) -> None:
    assert decision_on(request_).refusal == refusal


def test_unknown_fields_are_told_by_their_paths() -> None:
    refusal = decision_on(samples.low_request(), unknown_field_in="terms").refusal

    assert refusal is not None
    (violation,) = refusal.violations
    assert refusal == Refusal(errors.UNKNOWN_PARAMETER, "known_fields", violations=(violation,))
    assert violation.description == "is not a known field"
    assert violation.field.startswith("terms")


def test_what_is_refused_before_the_rules_are_asked_names_its_rule_too() -> None:
    violation = FieldViolation("request_id", "is required")

    assert wrong_format(violation) == Refusal(
        errors.WRONG_FORMAT, "well_formed", violations=(violation,)
    )
    assert unknown_parameter(["terms.other"]) == Refusal(
        errors.UNKNOWN_PARAMETER,
        "known_fields",
        violations=(FieldViolation("terms.other", "is not a known field"),),
    )
    assert not_found(7).rule == "liquidation_known"


def test_positions_that_were_not_refreshed_are_told_with_the_revision_that_was_completed() -> None:
    decision = decision_on(samples.low_request(), state=StoredState(last_completed_revision=7))

    assert decision.refusal == Refusal(
        errors.ANOTHER_IN_PROCESS,
        "no_claim_in_process",
        {"revision": "7", "last_completed_revision": "7"},
        retry_after_s=SECOND,
    )


def test_the_holder_of_a_slot_and_its_lease_are_told() -> None:
    state = StoredState(active_claim=ActiveClaim("claim-1", Decimal("12.5")))

    assert slot_taken(state) == Refusal(
        errors.ANOTHER_IN_PROCESS,
        "no_claim_in_process",
        {"claim_id": "claim-1"},
        retry_after_s=Decimal("12.5"),
    )


@pytest.mark.parametrize("state", [None, StoredState()], ids=["nothing read", "free again"])
def test_where_the_holder_is_not_known_a_second_is_to_be_waited(
    state: StoredState | None,
) -> None:
    assert slot_taken(state) == Refusal(
        errors.ANOTHER_IN_PROCESS, "no_claim_in_process", retry_after_s=SECOND
    )
