"""What each rule looked at, in words and numbers, for a trace that explains a decision."""

from collections.abc import Callable, Mapping
from typing import Final

from liquidation.rules.checks import Rule, max_quantity
from liquidation.rules.decision import RuleInput, facts_of
from liquidation.rules.margin import initial_margin_after
from liquidation.rules.model import Outcome, RuleResult
from liquidation.rules.numbers import least_ratio, plain
from liquidation.rules.policy import Mode

_NEEDED: Final = "a rule that runs finds what it needs"


def explain_rule(rule: Rule, given: RuleInput, *, runs: bool) -> RuleResult:
    """What became of one rule, with its facts: the numbers that it compared, or why it is skipped.

    A rule that `runs` is run whatever refused before it.
    """
    if not runs:
        return RuleResult(rule.name, Outcome.SKIPPED, facts={"skipped": _why_skipped(rule, given)})
    refusal = rule.check(given)
    facts = dict(_FACTS[rule.name](given)) if rule.name in _FACTS else {}
    if refusal is None:
        return RuleResult(rule.name, Outcome.PASSED, facts=facts)
    facts.update(refusal.values)
    for violation in refusal.violations[:1]:
        facts |= {"field": violation.field, "problem": violation.description}
    shadowed = given.policy.mode(rule.name) is Mode.SHADOW
    outcome = Outcome.SHADOW_REFUSED if shadowed else Outcome.REFUSED
    return RuleResult(rule.name, outcome, refusal, facts)


def _why_skipped(rule: Rule, given: RuleInput) -> str:
    if given.policy.mode(rule.name) is Mode.OFF:
        return "the rule is off"
    missing = next(part for part in rule.needs if getattr(given, part) is None)
    return _MISSING[missing]


_MISSING: Final[Mapping[str, str]] = {
    "terms": "the request is not well formed",
    "state": "the request is not well formed, or the store was not reached",
    "liquidation": "no liquidation is known to decide on",
    "claimed": "the terms do not fit the liquidation",
    "liquidator": "the request has no liquidator account",
}


def _ratio_facts(given: RuleInput) -> dict[str, str]:
    assert given.terms is not None, _NEEDED
    ratios = given.terms.ratios
    if len(ratios) == 1:
        return {"ratio_qty_request": plain(ratios[0])}
    return {"least": plain(min(ratios)), "largest": plain(max(ratios)), "count": str(len(ratios))}


def _extra_facts(given: RuleInput) -> dict[str, str]:
    assert given.terms is not None, _NEEDED
    return {"extra_liquidation_ratio": plain(given.terms.extra_liquidation_ratio)}


def _liquidation_facts(given: RuleInput) -> dict[str, str]:
    liquidation = given.liquidation
    if liquidation is None:
        return {}
    return {"account_id": liquidation.account_id, "revision": str(liquidation.revision)}


def _shape_facts(given: RuleInput) -> dict[str, str]:
    liquidation = given.liquidation
    assert liquidation is not None, _NEEDED
    return {"tier": liquidation.tier.name, "positions": str(len(liquidation.positions))}


def _claim_facts(given: RuleInput) -> dict[str, str]:
    """A claim that is in process is refused, and named, by the rule itself."""
    facts = _liquidation_facts(given)
    state = given.state
    if state is None:
        return facts
    if state.active_claim is not None:
        facts["lease_left_s"] = plain(state.active_claim.lease_left_s)
    if state.last_completed_revision is not None:
        facts["last_completed_revision"] = str(state.last_completed_revision)
    return facts


def _liquidator_facts(given: RuleInput) -> dict[str, str]:
    assert given.terms is not None, _NEEDED
    return {"liquidator_id": given.terms.liquidator_id}


def _margin_facts(given: RuleInput) -> dict[str, str]:
    liquidation = given.liquidation
    assert liquidation is not None, _NEEDED
    return {
        "margin_ratio": facts_of(liquidation).margin_ratio_text,
        "maintenance_margin_ratio": facts_of(liquidation).maintenance_margin_ratio_text,
    }


def _threshold_facts(given: RuleInput) -> dict[str, str]:
    """Those of the symbol that asks for the largest ratio; on LOW there is one check only."""
    assert given.liquidation is not None, _NEEDED
    assert given.checks is not None, _NEEDED
    threshold = given.policy.min_claim_notional[given.liquidation.tier]
    check = max(given.checks, key=lambda each: least_ratio(threshold, each.notional))
    facts = {
        "total_notional": plain(check.notional),
        "least_req_ratio": plain(least_ratio(threshold, check.notional)),
        "min_claim_notional": plain(threshold),
    }
    if check.ratio is not None:
        facts["ratio_qty_request"] = plain(check.ratio)
    return facts if check.symbol is None else facts | {"symbol": check.symbol}


def _limit_facts(given: RuleInput) -> dict[str, str]:
    assert given.terms is not None, _NEEDED
    return {"limits": str(len(given.terms.limit_price))}


def _initial_margin_facts(given: RuleInput) -> dict[str, str]:
    assert given.liquidator is not None, _NEEDED
    assert given.terms is not None, _NEEDED
    account = given.liquidator.account
    taken = {
        position.symbol: max_quantity(given.terms, position.position_qty, ratio)
        for position, ratio in given.claimed or ()
    }
    return {
        "initial_margin_after": plain(initial_margin_after(account, taken).required),
        "collateral_value": plain(account.collateral_value),
    }


_FACTS: Final[Mapping[str, Callable[[RuleInput], dict[str, str]]]] = {
    "ratio_qty_request_range": _ratio_facts,
    "extra_liquidation_ratio_range": _extra_facts,
    "extra_needs_full_ratio": lambda given: _ratio_facts(given) | _extra_facts(given),
    "liquidation_known": _liquidation_facts,
    "tier_shape": _shape_facts,
    "no_claim_in_process": _claim_facts,
    "liquidator_not_in_liquidation": _liquidator_facts,
    "margin_below_maintenance": _margin_facts,
    "least_request_ratio": _threshold_facts,
    "limit_price": _limit_facts,
    "liquidator_margin": _initial_margin_facts,
}
