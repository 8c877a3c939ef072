"""A case is made of what was sent and what is stored, and decided by the rules that it brings."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from liquidation.rules.checks import RULES
from liquidation.rules.evaluate import assemble, decide, evaluate_candidate
from liquidation.rules.intake import Intake
from liquidation.rules.model import (
    ActiveClaim,
    ClaimedPosition,
    FieldViolation,
    RuleInput,
    StoredState,
    Tier,
)
from liquidation.rules.policy import Mode, Policy
from tests import samples
from tests.core.deciding import intake_of, stored

Json = dict[str, Any]

STRICT = Policy(version="strict", min_claim_notional={Tier.LOW: Decimal(30001)})


def case_of(
    request: Json, state: StoredState | None = None, policy: Policy | None = None
) -> RuleInput:
    return assemble(policy or Policy(), intake_of(request), state or StoredState())


def test_what_is_not_well_formed_is_about_no_liquidation_whatever_is_stored() -> None:
    intake = Intake(violations=(FieldViolation("terms.liquidator_id", "is required"),))
    known = StoredState(liquidation=stored(samples.low()))

    assert assemble(Policy(), intake, known) == RuleInput(
        Policy(), violations=intake.violations, state=known
    )


def test_where_the_store_was_not_asked_nothing_is_known() -> None:
    case = assemble(Policy(), intake_of(samples.low_request()), None)

    assert (case.liquidation, case.claimed, case.demands) == (None, None, None)


def test_a_limit_on_a_symbol_that_is_not_listed_leaves_nothing_claimed() -> None:
    case = case_of(samples.low_request({"limit_price": {"PERP_SOL_USDC": "1"}}))

    assert case.claimed is None
    assert case.demands is not None


def test_a_limit_on_every_symbol_fits() -> None:
    limits = {"PERP_BTC_USDC": "40000", "PERP_ETH_USDC": "2500"}

    verdict = decide(case_of(samples.low_request({"limit_price": limits})))

    assert [each.symbol for each in verdict.positions] == list(limits)


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
    case = case_of(*REFUSED[name])
    refusal = decide(case).refusal
    assert refusal is not None
    assert refusal.rule == name
    (rule,) = [each for each in RULES if each.name == refusal.rule]
    given = rule.check(case)
    assert given is not None
    told = replace(given, rule=rule.name)
    in_mode = replace(case, policy=Policy(modes={rule.name: mode}))

    assert (decide(in_mode).refusal, *decide(in_mode).shadow)[mode is Mode.SHADOW] == told
    (traced,) = [each for each in decide(in_mode, explain=True).trace if each.rule == rule.name]
    assert traced.refusal == told


def test_a_verdict_on_a_known_liquidation_tells_all_that_it_was_made_from() -> None:
    policy = Policy(version="v-2", modes={"known_fields": Mode.SHADOW})
    intake = intake_of(samples.low_request({"extra_liquidation_ratio": "0.5"}))

    verdict = decide(assemble(policy, intake, StoredState(), ("terms.other",)))

    assert verdict.accepted
    assert (verdict.rules_version, verdict.account_id, verdict.liquidation_revision) == (
        "v-2",
        "account-low",
        7,
    )
    assert (verdict.total_notional, verdict.least_req_ratio) == (Decimal(30000), Decimal("0.3334"))
    assert (verdict.margin_ratio, verdict.maintenance_margin_ratio) == (
        Decimal("0.008"),
        Decimal("0.012"),
    )
    assert verdict.positions == (
        ClaimedPosition("PERP_BTC_USDC", Decimal("0.5"), Decimal("0.75"), Decimal(20000)),
        ClaimedPosition("PERP_ETH_USDC", Decimal(-4), Decimal(-6), Decimal(10000)),
    )
    assert [each.rule for each in verdict.shadow] == ["known_fields"]
    assert verdict.trace == ()


def test_a_verdict_where_nothing_is_known_names_its_rules_and_what_was_in_shadow() -> None:
    policy = Policy(version="v-2", modes={"known_fields": Mode.SHADOW})
    intake = intake_of({"terms": samples.low_terms()})

    verdict = decide(assemble(policy, intake, StoredState(), ("terms.other",)), explain=True)

    assert verdict.rules_version == "v-2"
    assert [each.rule for each in verdict.shadow] == ["known_fields"]
    assert [each.rule for each in verdict.trace] == [rule.name for rule in RULES]
    assert (verdict.account_id, verdict.liquidation_revision, verdict.positions) == ("", 0, ())


def test_a_refused_claim_takes_nothing() -> None:
    verdict = decide(case_of(samples.low_request({"ratio_qty_request": "0.3333"})))

    assert not verdict.accepted
    assert verdict.positions == ()


def test_a_second_opinion_is_that_of_the_candidate_on_the_same_case() -> None:
    case = case_of(samples.low_request({"ratio_qty_request": "0.9"}))

    opinion = evaluate_candidate(case, STRICT)

    assert decide(case).accepted
    assert opinion.refusal is not None
    assert (opinion.rules_version, opinion.refusal.rule) == ("strict", "least_request_ratio")
    assert (opinion.account_id, opinion.total_notional) == ("account-low", Decimal(30000))
    assert decide(case).rules_version == "default"
