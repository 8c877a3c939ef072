"""From a request and what is stored to a verdict: assemble the case, ask the rules, in order."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from liquidation.core.facts import facts_of
from liquidation.core.intake import Intake
from liquidation.core.model import (
    Case,
    ClaimedPosition,
    Demand,
    Liquidation,
    Outcome,
    Position,
    Refusal,
    RuleResult,
    Standing,
    Terms,
    Tier,
    Verdict,
)
from liquidation.core.numbers import product, total
from liquidation.core.policy import Mode, Policy
from liquidation.core.rules import RULES, Rule, least_ratio_of, max_quantity

__all__ = ["assemble", "decide", "second_opinion"]


def assemble(
    policy: Policy, intake: Intake, standing: Standing | None, unknown_fields: tuple[str, ...] = ()
) -> Case:
    """The case that the rules look at. `standing` is None where the store was not asked."""
    terms = intake.terms
    liquidation = None
    if terms is not None and standing is not None:
        liquidation = _snapshot_to_decide_on(intake.snapshot, standing)
    claimed = demands = None
    if terms is not None and liquidation is not None:
        claimed = _claimed(terms, liquidation)
        demands = _demands(terms, liquidation)
    return Case(
        policy,
        unknown_fields,
        intake.defects,
        terms,
        intake.liquidator,
        standing,
        liquidation,
        claimed,
        demands,
    )


def _snapshot_to_decide_on(sent: Liquidation | None, standing: Standing) -> Liquidation | None:
    """The snapshot sent with the request, unless the stored one is newer, closed or another's."""
    stored = standing.liquidation
    if standing.closed:
        return None
    if sent is None or stored is None:
        return sent or stored
    if sent.account_id != stored.account_id:
        return None
    return stored if sent.revision < stored.revision else sent


def _claimed(terms: Terms, liquidation: Liquidation) -> tuple[tuple[Position, Decimal], ...] | None:
    by_symbol = {position.symbol: position for position in liquidation.positions}
    if not terms.limit_price.keys() <= by_symbol.keys():
        return None
    if liquidation.tier is Tier.LOW:
        ratio = terms.ratio_qty_request
        return None if ratio is None else tuple((each, ratio) for each in liquidation.positions)
    if not terms.symbols or not {named.symbol for named in terms.symbols} <= by_symbol.keys():
        return None
    return tuple((by_symbol[named.symbol], named.ratio_qty_request) for named in terms.symbols)


def _demands(terms: Terms, liquidation: Liquidation) -> tuple[Demand, ...] | None:
    if liquidation.tier is Tier.LOW:
        notional = total(position.notional for position in liquidation.positions)
        return (Demand(None, notional, terms.ratio_qty_request),)
    by_symbol = {position.symbol: position for position in liquidation.positions}
    if not terms.symbols or not {named.symbol for named in terms.symbols} <= by_symbol.keys():
        return None
    return tuple(
        Demand(named.symbol, by_symbol[named.symbol].notional, named.ratio_qty_request)
        for named in terms.symbols
    )


def decide(case: Case, *, explain: bool = False) -> Verdict:
    """The verdict on `case`. With `explain` every rule is asked, else only up to the refusal."""
    refusal: Refusal | None = None
    trace: list[RuleResult] = []
    shadow: list[Refusal] = []
    for rule in RULES:
        result = _ask(rule, case)
        # What comes after the rule that decides is asked for the trace alone.
        if refusal is None and result.outcome is Outcome.REFUSED:
            refusal = result.refusal
        elif refusal is None and result.refusal is not None:
            shadow.append(result.refusal)
        if explain:
            trace.append(replace(result, facts=facts_of(result, case)))
        elif refusal is not None:
            break
    return _verdict(case, refusal, tuple(trace), tuple(shadow))


def second_opinion(case: Case, candidate: Policy) -> Verdict:
    """What a candidate for the rules says of the same case."""
    return decide(replace(case, policy=candidate))


_PASSED: Mapping[str, RuleResult] = {
    rule.name: RuleResult(rule.name, Outcome.PASSED) for rule in RULES
}
_SKIPPED: Mapping[str, RuleResult] = {
    rule.name: RuleResult(rule.name, Outcome.SKIPPED) for rule in RULES
}


def _ask(rule: Rule, case: Case) -> RuleResult:
    mode = case.policy.mode(rule.name)
    if mode is Mode.OFF or any(getattr(case, part) is None for part in rule.needs):
        return _SKIPPED[rule.name]
    refusal = rule.check(case)
    if refusal is None:
        return _PASSED[rule.name]
    refusal = replace(refusal, rule=rule.name)
    outcome = Outcome.SHADOW_REFUSED if mode is Mode.SHADOW else Outcome.REFUSED
    return RuleResult(rule.name, outcome, refusal)


def _verdict(
    case: Case,
    refusal: Refusal | None,
    trace: tuple[RuleResult, ...],
    shadow: tuple[Refusal, ...],
) -> Verdict:
    liquidation = case.liquidation
    if liquidation is None:
        return Verdict(refusal, case.policy.version, trace=trace, shadow=shadow)
    notional = least = None
    if case.demands is not None:
        threshold = case.policy.min_claim_notional[liquidation.tier]
        notional = total(demand.notional for demand in case.demands)
        least = max(least_ratio_of(demand, threshold) for demand in case.demands)
    return Verdict(
        refusal,
        case.policy.version,
        notional,
        least,
        liquidation.margin_ratio,
        liquidation.maintenance_margin_ratio,
        liquidation.revision,
        liquidation.account_id,
        _positions(case) if refusal is None else (),
        trace,
        shadow,
    )


def _positions(case: Case) -> tuple[ClaimedPosition, ...]:
    terms = case.terms
    if terms is None or case.claimed is None:
        return ()
    return tuple(
        ClaimedPosition(
            position.symbol,
            product(position.position_qty, ratio),
            max_quantity(terms, position.position_qty, ratio),
            product(position.notional, ratio.copy_abs()),
        )
        for position, ratio in case.claimed
    )
