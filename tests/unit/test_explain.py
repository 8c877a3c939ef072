"""What a trace says of each rule: the numbers that it compared, or why it was not asked."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from liquidation.rules.evaluate import decide, rule_input
from liquidation.rules.model import ActiveClaim, StoredState
from liquidation.rules.policy import Mode, Policy
from tests import samples
from tests.unit.deciding import decision_on, request_of, stored

Json = dict[str, Any]

OFF = "the rule is off"
NOT_FORMED = "the request is not well formed"
NOT_REACHED = "the request is not well formed, or the store was not reached"
NOT_KNOWN = "no liquidation is known to decide on"
DOES_NOT_FIT = "the terms do not fit the liquidation"
NO_LIQUIDATOR = "the request has no liquidator account"


def facts_on(request: Json, **others: Any) -> dict[str, dict[str, str]]:
    """The facts of each rule, by its name."""
    decision = decision_on(request, explain=True, **others)
    return {each.rule: dict(each.facts) for each in decision.trace}


def test_every_rule_of_an_accepted_claim_tells_what_it_looked_at() -> None:
    request = samples.low_request(
        {"extra_liquidation_ratio": "0.10", "limit_price": {"PERP_BTC_USDC": "50000"}},
        liquidator=samples.liquidator(),
    )

    assert facts_on(request) == {
        "known_fields": {},
        "well_formed": {},
        "ratio_qty_request_range": {"ratio_qty_request": "1"},
        "extra_liquidation_ratio_range": {"extra_liquidation_ratio": "0.1"},
        "extra_needs_full_ratio": {"ratio_qty_request": "1", "extra_liquidation_ratio": "0.1"},
        "liquidation_known": {"account_id": "account-low", "revision": "7"},
        "tier_shape": {"tier": "LOW", "positions": "2"},
        "no_claim_in_process": {"account_id": "account-low", "revision": "7"},
        "liquidator_not_in_liquidation": {"liquidator_id": "liquidator-1"},
        "margin_below_maintenance": {"margin_ratio": "0.008", "maintenance_margin_ratio": "0.012"},
        "least_request_ratio": {
            "total_notional": "30000",
            "least_req_ratio": "0.3334",
            "min_claim_notional": "10000",
            "ratio_qty_request": "1",
        },
        "limit_price": {"limits": "1"},
        # 1.1 times 30000 USDC, a tenth of which is needed at a leverage of 10.
        "liquidator_margin": {"initial_margin_after": "3300", "collateral_value": "100000"},
    }


def test_several_ratios_are_told_by_their_bounds_and_their_number() -> None:
    facts = facts_on(samples.high_request())

    assert facts["ratio_qty_request_range"] == {"least": "0.5", "largest": "1", "count": "2"}
    assert facts["extra_needs_full_ratio"] == {
        "least": "0.5",
        "largest": "1",
        "count": "2",
        "extra_liquidation_ratio": "0",
    }


def test_of_several_symbols_the_one_that_asks_for_most_is_compared() -> None:
    facts = facts_on(samples.high_request())

    assert facts["least_request_ratio"] == {
        "symbol": "PERP_DOGE_USDC",
        "total_notional": "8000",
        "least_req_ratio": "0.625",
        "min_claim_notional": "5000",
        "ratio_qty_request": "1",
    }


def test_a_claim_in_process_and_the_last_completed_one_are_told() -> None:
    state = StoredState(
        active_claim=ActiveClaim("claim-1", Decimal("12.500")), last_completed_revision=6
    )

    facts = facts_on(samples.low_request(), state=state)

    assert facts["no_claim_in_process"] == {
        "account_id": "account-low",
        "revision": "7",
        "claim_id": "claim-1",
        "lease_left_s": "12.5",
        "last_completed_revision": "6",
    }


def test_a_rule_that_refuses_tells_the_numbers_of_its_refusal_too() -> None:
    facts = facts_on(samples.low_request({"ratio_qty_request": "0.3333"}))

    assert facts["least_request_ratio"] == {
        "total_notional": "30000",
        "least_req_ratio": "0.3334",
        "min_claim_notional": "10000",
        "ratio_qty_request": "0.3333",
    }
    crossed = facts_on(samples.low_request({"limit_price": {"PERP_BTC_USDC": "39999"}}))
    assert crossed["limit_price"] == {
        "limits": "1",
        "symbol": "PERP_BTC_USDC",
        "mark_price": "40000",
        "limit_price": "39999",
    }


def test_a_rule_that_finds_violations_tells_the_first() -> None:
    facts = facts_on(samples.low_request({"liquidator_id": "", "ratio_qty_request": "x"}))

    assert facts["well_formed"] == {
        "field": "terms.liquidator_id",
        "problem": "must be 1 to 128 printable ASCII characters",
    }


@pytest.mark.parametrize(
    ("request_", "skipped"),
    [
        pytest.param(
            samples.low_request({"ratio_qty_request": "x"}),
            {
                "ratio_qty_request_range": NOT_FORMED,
                "extra_liquidation_ratio_range": NOT_FORMED,
                "extra_needs_full_ratio": NOT_FORMED,
                "liquidation_known": NOT_REACHED,
                "tier_shape": NOT_KNOWN,
                "no_claim_in_process": NOT_KNOWN,
                "liquidator_not_in_liquidation": NOT_KNOWN,
                "margin_below_maintenance": NOT_KNOWN,
                "least_request_ratio": DOES_NOT_FIT,
                "limit_price": DOES_NOT_FIT,
                "liquidator_margin": DOES_NOT_FIT,
            },
            id="not well formed",
        ),
        pytest.param(
            {"terms": samples.low_terms()},
            {
                "tier_shape": NOT_KNOWN,
                "no_claim_in_process": NOT_KNOWN,
                "liquidator_not_in_liquidation": NOT_KNOWN,
                "margin_below_maintenance": NOT_KNOWN,
                "least_request_ratio": DOES_NOT_FIT,
                "limit_price": DOES_NOT_FIT,
                "liquidator_margin": DOES_NOT_FIT,
            },
            id="nothing known",
        ),
        pytest.param(
            samples.low_request(), {"liquidator_margin": NO_LIQUIDATOR}, id="no liquidator"
        ),
    ],
)
def test_a_rule_that_is_not_asked_says_what_it_misses(
    request_: Json, skipped: dict[str, str]
) -> None:
    facts = facts_on(request_)

    assert {rule: told["skipped"] for rule, told in facts.items() if "skipped" in told} == skipped


def test_a_rule_that_is_off_says_so_also_where_it_misses_something() -> None:
    policy = Policy(modes={"liquidator_margin": Mode.OFF, "least_request_ratio": Mode.OFF})

    facts = facts_on(samples.low_request(), policy=policy)

    assert facts["liquidator_margin"] == facts["least_request_ratio"] == {"skipped": OFF}


def test_where_no_liquidation_is_known_the_id_that_was_asked_for_is_told() -> None:
    facts = facts_on({"terms": samples.low_terms()})

    assert facts["liquidation_known"] == {"liquidation_id": "101"}


def test_terms_of_the_other_tier_are_compared_without_a_ratio() -> None:
    symbols = [{"symbol": "PERP_BTC_USDC", "ratio_qty_request": "1"}]
    request = request_of(samples.low_request({"ratio_qty_request": "", "symbols": symbols}))
    given = rule_input(Policy(), request, StoredState())
    # The rule is asked only where something is claimed.
    trace = decide(replace(given, claimed=()), explain=True).trace

    (facts,) = [each.facts for each in trace if each.rule == "least_request_ratio"]
    assert facts == {
        "total_notional": "30000",
        "least_req_ratio": "0.3334",
        "min_claim_notional": "10000",
    }


def test_where_nothing_is_known_of_claims_the_liquidation_is_told_alone() -> None:
    given = rule_input(Policy(), request_of(samples.low_request()), StoredState())
    unasked = replace(given, state=None)

    (facts,) = [
        each.facts
        for each in decide(unasked, explain=True).trace
        if each.rule == "no_claim_in_process"
    ]
    assert facts == {"account_id": "account-low", "revision": "7"}


def test_a_ratio_out_of_its_range_is_told_with_its_field_beside_the_bounds_of_all() -> None:
    symbols = [
        {"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.5"},
        {"symbol": "PERP_DOGE_USDC", "ratio_qty_request": "1.5"},
    ]

    facts = facts_on(samples.high_request({"symbols": symbols}))

    assert facts["ratio_qty_request_range"] == {
        "least": "0.5",
        "largest": "1.5",
        "count": "2",
        "ratio_qty_request": "1.5",
        "field": "terms.symbols[1].ratio_qty_request",
        "problem": "must be within 0 and 1",
    }


def test_a_stored_snapshot_is_told_where_it_is_the_one_decided_on() -> None:
    newer = stored(samples.low(revision=9))

    facts = facts_on(samples.low_request(), state=StoredState(liquidation=newer))

    assert facts["liquidation_known"] == {"account_id": "account-low", "revision": "9"}
