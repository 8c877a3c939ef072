"""The rules look at what was sent and what is stored, and decide by the policy they are given."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from liquidation.rules.checks import RULES
from liquidation.rules.decision import Decision, RuleInput
from liquidation.rules.evaluate import decide, evaluate, evaluate_candidate, rule_input
from liquidation.rules.model import (
    ActiveClaim,
    ClaimedPosition,
    ClaimRequest,
    FieldViolation,
    StoredState,
    Tier,
)
from liquidation.rules.policy import Mode, Policy
from tests import samples
from tests.unit.deciding import request_of, stored
from tests.unit.drawing import LARGEST, SMALLEST

Json = dict[str, Any]

STRICT = Policy(version="strict", min_claim_notional={Tier.LOW: Decimal(30001)})


def input_of(
    request: Json, state: StoredState | None = None, policy: Policy | None = None
) -> RuleInput:
    return rule_input(policy or Policy(), request_of(request), state or StoredState())


def test_what_is_not_well_formed_is_about_no_liquidation_whatever_is_stored() -> None:
    request = ClaimRequest(violations=(FieldViolation("terms.liquidator_id", "is required"),))
    known = StoredState(liquidation=stored(samples.low()))

    assert rule_input(Policy(), request, known) == RuleInput(
        Policy(), violations=request.violations, state=known
    )


def test_where_the_store_was_not_asked_nothing_is_known() -> None:
    given = rule_input(Policy(), request_of(samples.low_request()), None)

    assert (given.liquidation, given.claimed, given.checks) == (None, None, None)


def test_a_limit_on_a_symbol_that_is_not_listed_leaves_nothing_claimed() -> None:
    given = input_of(samples.low_request({"limit_price": {"PERP_SOL_USDC": "1"}}))

    assert given.claimed is None
    assert given.checks is not None


def test_a_limit_on_every_symbol_fits() -> None:
    limits = {"PERP_BTC_USDC": "40000", "PERP_ETH_USDC": "2500"}

    decision = decide(input_of(samples.low_request({"limit_price": limits})))

    assert [each.symbol for each in decision.positions] == list(limits)


ONE_SYMBOL = [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.1"}]
HELD = StoredState(active_claim=ActiveClaim("claim-1", Decimal(12)))
# What each rule refuses, by its name: a request and what is stored.
REFUSED: dict[str, tuple[Json, StoredState]] = {
    "liquidation_known": ({"terms": samples.low_terms()}, StoredState()),
    "no_claim_in_process": (samples.low_request(), HELD),
    "liquidator_not_in_liquidation": (
        samples.low_request({"liquidator_id": "account-low"}),
        StoredState(),
    ),
    "margin_below_maintenance": (
        samples.low_request(liquidation={"margin_ratio": "0.012"}),
        StoredState(),
    ),
    "least_request_ratio": (samples.high_request({"symbols": ONE_SYMBOL}), StoredState()),
    "limit_price": (
        samples.low_request({"limit_price": {"PERP_BTC_USDC": "39999"}}),
        StoredState(),
    ),
    "liquidator_margin": (
        samples.low_request(liquidator=samples.liquidator(collateral_value="1")),
        StoredState(),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_a_refusal_is_told_as_its_rule_gave_it(name: str, mode: Mode) -> None:
    given = input_of(*REFUSED[name])
    refusal = decide(given).refusal
    assert refusal is not None
    assert refusal.rule == name
    (rule,) = [each for each in RULES if each.name == refusal.rule]
    told = rule.check(given)
    assert told is not None
    assert told.rule == rule.name
    in_mode = replace(given, policy=Policy(modes={rule.name: mode}))

    assert (decide(in_mode).refusal, *decide(in_mode).shadow)[mode is Mode.SHADOW] == told
    (traced,) = [each for each in decide(in_mode, explain=True).trace if each.rule == rule.name]
    assert traced.refusal == told


def test_a_decision_on_a_known_liquidation_tells_all_that_it_was_made_from() -> None:
    policy = Policy(version="v-2", modes={"known_fields": Mode.SHADOW})
    request = request_of(
        samples.low_request({"extra_liquidation_ratio": "0.5"}), unknown_fields=("terms.other",)
    )

    decision = evaluate(policy, request, StoredState())

    assert decision.accepted
    assert (decision.rules_version, decision.account_id, decision.liquidation_revision) == (
        "v-2",
        "account-low",
        7,
    )
    assert (decision.total_notional, decision.least_req_ratio) == ("30000", "0.3334")
    assert (decision.margin_ratio, decision.maintenance_margin_ratio) == ("0.008", "0.012")
    assert decision.positions == (
        ClaimedPosition("PERP_BTC_USDC", "0.5", "0.75", "20000"),
        ClaimedPosition("PERP_ETH_USDC", "-4", "-6", "10000"),
    )
    assert [each.rule for each in decision.shadow] == ["known_fields"]
    assert decision.trace == ()
    assert decision.given == rule_input(policy, request, StoredState())


def test_a_decision_where_nothing_is_known_names_its_rules_and_what_was_in_shadow() -> None:
    policy = Policy(version="v-2", modes={"known_fields": Mode.SHADOW})
    request = request_of({"terms": samples.low_terms()}, unknown_fields=("terms.other",))

    decision = evaluate(policy, replace(request, explain=True), StoredState())

    assert decision.rules_version == "v-2"
    assert [each.rule for each in decision.shadow] == ["known_fields"]
    assert [each.rule for each in decision.trace] == [rule.name for rule in RULES]
    assert (decision.account_id, decision.liquidation_revision, decision.positions) == ("", 0, ())


def test_a_refused_claim_takes_nothing() -> None:
    decision = decide(input_of(samples.low_request({"ratio_qty_request": "0.3333"})))

    assert not decision.accepted
    assert decision.positions == ()


def test_each_claim_on_one_snapshot_takes_its_own_share() -> None:
    known = StoredState(liquidation=stored(samples.low()))
    terms = (("0.5", "0"), ("1", "0"), ("1", "0.1"), ("0.5", "0"))

    def taken(ratio: str, extra: str) -> list[tuple[str, str]]:
        asked = {"ratio_qty_request": ratio, "extra_liquidation_ratio": extra}
        request = request_of({"terms": samples.low_terms(**asked)})
        return [(each.qty, each.max_qty) for each in evaluate(Policy(), request, known).positions]

    assert [taken(ratio, extra) for ratio, extra in terms] == [
        [("0.25", "0.25"), ("-2", "-2")],
        [("0.5", "0.5"), ("-4", "-4")],
        [("0.5", "0.55"), ("-4", "-4.4")],
        [("0.25", "0.25"), ("-2", "-2")],
    ]


def test_a_candidate_decides_on_the_same_request_and_state() -> None:
    decision = decide(input_of(samples.low_request({"ratio_qty_request": "0.9"})))

    other = evaluate_candidate(decision, STRICT)

    assert decision.accepted
    assert other.refusal is not None
    assert (other.rules_version, other.refusal.rule) == ("strict", "least_request_ratio")
    assert (other.account_id, other.total_notional) == ("account-low", "30000")
    assert decision.rules_version == "default"


HUGEST = [{"symbol": "PERP_BTC_USDC", "position_qty": f"-{LARGEST}", "mark_price": LARGEST}]
ALMOST_1 = "0." + "9" * 18


def test_the_texts_of_a_decision_keep_all_digits_of_the_largest_numbers() -> None:
    request = samples.low_request({"ratio_qty_request": ALMOST_1}, {"positions": HUGEST})

    decision = decide(input_of(request))

    largest = Fraction(LARGEST)
    assert decision.accepted
    assert Fraction(decision.total_notional) == largest**2
    (taken,) = decision.positions
    assert Fraction(taken.qty) == -largest * Fraction(ALMOST_1)
    assert taken.max_qty == taken.qty
    assert Fraction(taken.notional) == largest**2 * Fraction(ALMOST_1)
    # 36 digits in front of the point and 54 behind it: three numbers of 18 digits multiplied.
    assert [len(part) for part in taken.notional.split(".")] == [36, 54]


def test_the_texts_of_a_decision_keep_a_product_of_108_digits() -> None:
    # As large a ratio is refused, unless that rule is off.
    policy = Policy(
        modes={"ratio_qty_request_range": Mode.OFF},
        min_claim_notional=dict.fromkeys(Tier, Decimal(LARGEST)),
    )
    request = samples.low_request({"ratio_qty_request": LARGEST}, {"positions": HUGEST})

    decision = decide(input_of(request, policy=policy))

    assert decision.accepted
    (taken,) = decision.positions
    assert Fraction(taken.notional) == Fraction(LARGEST) ** 3
    assert [len(part) for part in taken.notional.split(".")] == [54, 54]
    # 10^18 / 10^36, rounded up to four digits, and no exponent in sight.
    assert decision.least_req_ratio == "0." + "0" * 17 + "1001"


def test_texts_have_no_exponent_and_no_zeros_behind_the_last_digit() -> None:
    positions = [
        {"symbol": "PERP_BTC_USDC", "position_qty": SMALLEST, "mark_price": SMALLEST},
        {"symbol": "PERP_ETH_USDC", "position_qty": "-10000.000", "mark_price": "100.00"},
    ]
    request = samples.low_request({"ratio_qty_request": "1.000"}, {"positions": positions})

    decision = decide(input_of(request))

    tiny = "0." + "0" * 35 + "1"
    assert decision.total_notional == "1000000" + tiny.removeprefix("0")
    assert decision.positions == (
        ClaimedPosition("PERP_BTC_USDC", SMALLEST, SMALLEST, tiny),
        ClaimedPosition("PERP_ETH_USDC", "-10000", "-10000", "1000000"),
    )


@pytest.mark.parametrize("request_", [{"terms": samples.low_terms()}, {"terms": {}}])
def test_a_number_that_cannot_be_computed_is_an_empty_text(request_: Json) -> None:
    decision = evaluate(Policy(), request_of(request_), None)

    assert decision == replace(Decision(decision.refusal, "default"), given=decision.given)
    assert (decision.total_notional, decision.least_req_ratio) == ("", "")
    assert (decision.margin_ratio, decision.maintenance_margin_ratio) == ("", "")
