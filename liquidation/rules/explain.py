"""What each rule looked at, in words and numbers, for a trace that explains a decision."""

from collections.abc import Callable, Mapping
from typing import Final

from liquidation.rules.checks import RULES, least_ratio_of, max_quantity
from liquidation.rules.margin import initial_margin_after
from liquidation.rules.model import Outcome, RuleInput, RuleResult
from liquidation.rules.numbers import plain
from liquidation.rules.policy import Mode

__all__ = ["facts_of"]

_NEEDED: Final = "a rule that is asked finds what it needs"


def facts_of(result: RuleResult, case: RuleInput) -> Mapping[str, str]:
    """The facts of one rule: the numbers that it compared, or why it was skipped."""
    if result.outcome is Outcome.SKIPPED:
        return {"skipped": _why_skipped(result.rule, case)}
    facts = dict(_FACTS[result.rule](case)) if result.rule in _FACTS else {}
    if result.refusal is not None:
        facts.update(result.refusal.values)
        for violation in result.refusal.violations[:1]:
            facts |= {"field": violation.field, "problem": violation.description}
    return facts


def _why_skipped(rule_name: str, case: RuleInput) -> str:
    if case.policy.mode(rule_name) is Mode.OFF:
        return "the rule is off"
    rule = next(rule for rule in RULES if rule.name == rule_name)
    missing = next(part for part in rule.needs if getattr(case, part) is None)
    return _MISSING[missing]


_MISSING: Final[Mapping[str, str]] = {
    "terms": "the request is not well formed",
    "state": "the request is not well formed, or the store was not reached",
    "liquidation": "no liquidation is known to decide on",
    "claimed": "the terms do not fit the liquidation",
    "liquidator": "the request has no liquidator account",
}


def _ratio_facts(case: RuleInput) -> dict[str, str]:
    assert case.terms is not None, _NEEDED
    ratios = case.terms.ratios
    if len(ratios) == 1:
        return {"ratio_qty_request": plain(ratios[0])}
    return {"least": plain(min(ratios)), "largest": plain(max(ratios)), "count": str(len(ratios))}


def _extra_facts(case: RuleInput) -> dict[str, str]:
    assert case.terms is not None, _NEEDED
    return {"extra_liquidation_ratio": plain(case.terms.extra_liquidation_ratio)}


def _liquidation_facts(case: RuleInput) -> dict[str, str]:
    liquidation = case.liquidation
    if liquidation is None:
        return {}
    return {"account_id": liquidation.account_id, "revision": str(liquidation.revision)}


def _shape_facts(case: RuleInput) -> dict[str, str]:
    liquidation = case.liquidation
    assert liquidation is not None, _NEEDED
    return {"tier": liquidation.tier.name, "positions": str(len(liquidation.positions))}


def _claim_facts(case: RuleInput) -> dict[str, str]:
    """A claim that is in process is refused, and named, by the rule itself."""
    facts = _liquidation_facts(case)
    state = case.state
    if state is None:
        return facts
    if state.active_claim is not None:
        facts["lease_left_s"] = plain(state.active_claim.lease_left_s)
    if state.last_completed_revision is not None:
        facts["last_completed_revision"] = str(state.last_completed_revision)
    return facts


def _liquidator_facts(case: RuleInput) -> dict[str, str]:
    assert case.terms is not None, _NEEDED
    return {"liquidator_id": case.terms.liquidator_id}


def _margin_facts(case: RuleInput) -> dict[str, str]:
    liquidation = case.liquidation
    assert liquidation is not None, _NEEDED
    return {
        "margin_ratio": plain(liquidation.margin_ratio),
        "maintenance_margin_ratio": plain(liquidation.maintenance_margin_ratio),
    }


def _threshold_facts(case: RuleInput) -> dict[str, str]:
    """Those of the symbol that asks for the largest ratio; on LOW there is one demand only."""
    assert case.liquidation is not None, _NEEDED
    assert case.demands is not None, _NEEDED
    threshold = case.policy.min_claim_notional[case.liquidation.tier]
    demand = max(case.demands, key=lambda each: least_ratio_of(each, threshold))
    facts = {
        "total_notional": plain(demand.notional),
        "least_req_ratio": plain(least_ratio_of(demand, threshold)),
        "min_claim_notional": plain(threshold),
    }
    if demand.ratio is not None:
        facts["ratio_qty_request"] = plain(demand.ratio)
    return facts if demand.symbol is None else facts | {"symbol": demand.symbol}


def _limit_facts(case: RuleInput) -> dict[str, str]:
    assert case.terms is not None, _NEEDED
    return {"limits": str(len(case.terms.limit_price))}


def _initial_margin_facts(case: RuleInput) -> dict[str, str]:
    assert case.liquidator is not None, _NEEDED
    assert case.terms is not None, _NEEDED
    account = case.liquidator.account
    taken = {
        position.symbol: max_quantity(case.terms, position.position_qty, ratio)
        for position, ratio in case.claimed or ()
    }
    return {
        "initial_margin_after": plain(initial_margin_after(account, taken).required),
        "collateral_value": plain(account.collateral_value),
    }


_FACTS: Final[Mapping[str, Callable[[RuleInput], dict[str, str]]]] = {
    "ratio_qty_request_range": _ratio_facts,
    "extra_liquidation_ratio_range": _extra_facts,
    "extra_needs_full_ratio": lambda case: _ratio_facts(case) | _extra_facts(case),
    "liquidation_known": _liquidation_facts,
    "tier_shape": _shape_facts,
    "no_claim_in_process": _claim_facts,
    "liquidator_not_in_liquidation": _liquidator_facts,
    "margin_below_maintenance": _margin_facts,
    "least_request_ratio": _threshold_facts,
    "limit_price": _limit_facts,
    "liquidator_margin": _initial_margin_facts,
}
