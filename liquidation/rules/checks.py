"""The thirteen rules, each a pure function of its input, in the order in which they decide.

A rule is `check_<name>(given) -> Refusal | None`. The first one that refuses decides. Every
comparison is exact: no rule divides, and no rule looks at a number that was rounded to be shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from liquidation.rules import errors
from liquidation.rules.decision import RuleInput, facts_of
from liquidation.rules.margin import initial_margin_after
from liquidation.rules.model import (
    FieldViolation,
    Liquidation,
    Refusal,
    StoredState,
    Terms,
    ThresholdCheck,
    Tier,
)
from liquidation.rules.numbers import EXACT, ONE, ZERO, least_ratio, plain, product

# What a caller is told to wait where no lease says better, in seconds.
RETRY_AFTER_S: Final = ONE

_MUST_BE_WHOLE: Final = "must be 1 beside an extra ratio"
_NEEDED: Final = "the rule's needs make sure of it"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and the parts of the given without which there is nothing for it to look at."""

    name: str
    check: Callable[[RuleInput], Refusal | None]
    needs: tuple[str, ...] = ()


def check_known_fields(given: RuleInput) -> Refusal | None:
    """-1004: the request holds a field that the service does not know, at any depth."""
    return unknown_parameter(given.unknown_fields) if given.unknown_fields else None


def unknown_parameter(fields: Sequence[str]) -> Refusal:
    """The refusal of every request that holds unknown fields, given by their paths."""
    return Refusal(
        errors.UNKNOWN_PARAMETER,
        rule="known_fields",
        violations=tuple(FieldViolation(field, "is not a known field") for field in fields),
    )


def check_well_formed(given: RuleInput) -> Refusal | None:
    """-1005: a number, an id, a size or a combination of fields is not of the allowed form."""
    return wrong_format(*given.violations) if given.violations else None


def wrong_format(*violations: FieldViolation, rule: str = "well_formed") -> Refusal:
    """The refusal of every request that is not well formed."""
    return Refusal(errors.WRONG_FORMAT, rule, violations=violations)


def check_ratio_qty_request_range(given: RuleInput) -> Refusal | None:
    """-1005: a ratio of the terms is not within [0, 1], both inclusive."""
    terms = given.terms
    assert terms is not None, _NEEDED
    for index, ratio in enumerate(terms.ratios):
        if not ZERO <= ratio <= ONE:
            return Refusal(
                errors.RATIO_OUT_OF_RANGE,
                "ratio_qty_request_range",
                values={"ratio_qty_request": plain(ratio)},
                violations=(FieldViolation(_ratio_field(terms, index), "must be within 0 and 1"),),
            )
    return None


def check_extra_liquidation_ratio_range(given: RuleInput) -> Refusal | None:
    """-1005: extra_liquidation_ratio is not within [0, 1], both inclusive; absent it is 0."""
    terms = given.terms
    assert terms is not None, _NEEDED
    extra = terms.extra_liquidation_ratio
    if ZERO <= extra <= ONE:
        return None
    return Refusal(
        errors.EXTRA_OUT_OF_RANGE,
        "extra_liquidation_ratio_range",
        values={"extra_liquidation_ratio": plain(extra)},
        violations=(FieldViolation("terms.extra_liquidation_ratio", "must be within 0 and 1"),),
    )


def check_extra_needs_full_ratio(given: RuleInput) -> Refusal | None:
    """-1005: more than the whole is asked for, and a ratio of the terms is not the whole."""
    terms = given.terms
    assert terms is not None, _NEEDED
    if terms.extra_liquidation_ratio <= ZERO:
        return None
    for index, ratio in enumerate(terms.ratios):
        if ratio != ONE:
            return Refusal(
                errors.EXTRA_NEEDS_FULL_RATIO,
                "extra_needs_full_ratio",
                values={
                    "extra_liquidation_ratio": plain(terms.extra_liquidation_ratio),
                    "ratio_qty_request": plain(ratio),
                },
                violations=(FieldViolation(_ratio_field(terms, index), _MUST_BE_WHOLE),),
            )
    return None


def check_liquidation_known(given: RuleInput) -> Refusal | None:
    """-1202: no open liquidation of that id is known, or it is another account's."""
    return None if given.liquidation is not None else not_found(_terms(given).liquidation_id)


def not_found(liquidation_id: int) -> Refusal:
    """The refusal of every request for a liquidation that is not open, or not known."""
    name = str(liquidation_id)
    return Refusal(
        errors.LIQUIDATION_NOT_FOUND,
        rule="liquidation_known",
        values={"liquidation_id": name},
        subject=f"liquidations/{name}",
        not_found=("liquidation.v1.Liquidation", name),
    )


def check_tier_shape(given: RuleInput) -> Refusal | None:
    """-1005: symbols on LOW; on HIGH none, or one it lacks; a limit for one it lacks."""
    terms, liquidation = given.terms, given.liquidation
    assert terms is not None, _NEEDED
    assert liquidation is not None, _NEEDED
    if liquidation.tier is Tier.LOW and not terms.symbols and not terms.limit_price:
        return None  # nearly all
    field, problem = "terms.symbols", ""
    listed = facts_of(liquidation).by_symbol.keys()
    if liquidation.tier is Tier.LOW and terms.symbols:
        problem = "must be empty: tier LOW takes one ratio for all positions"
    elif liquidation.tier is Tier.HIGH and not terms.symbols:
        problem = "is required: tier HIGH takes one ratio for each symbol"
    elif unlisted := [i for i, named in enumerate(terms.symbols) if named.symbol not in listed]:
        field, problem = f"{field}[{unlisted[0]}].symbol", "is not a position of the liquidation"
    elif not terms.limit_price.keys() <= listed:
        field, problem = "terms.limit_price", "names a symbol that is not one of the liquidation"
    return wrong_format(FieldViolation(field, problem), rule="tier_shape") if problem else None


def check_no_claim_in_process(given: RuleInput) -> Refusal | None:
    """-1012: a claim on the account is active, or its positions are not refreshed since the last.

    Refreshed means: the snapshot's revision is above that of the last completed claim.
    """
    state, liquidation = given.state, given.liquidation
    assert liquidation is not None, _NEEDED
    if state is None:
        return None
    if state.active_claim is not None:
        return slot_taken(state)
    completed = state.last_completed_revision
    if completed is not None and liquidation.revision <= completed:
        return Refusal(
            errors.ANOTHER_IN_PROCESS,
            "no_claim_in_process",
            values={
                "revision": str(liquidation.revision),
                "last_completed_revision": str(completed),
            },
            retry_after_s=RETRY_AFTER_S,
        )
    return None


def slot_taken(state: StoredState | None) -> Refusal:
    """The refusal of a claim on an account whose one slot is held by another."""
    holder = None if state is None else state.active_claim
    return Refusal(
        errors.ANOTHER_IN_PROCESS,
        rule="no_claim_in_process",
        values={} if holder is None else {"claim_id": holder.claim_id},
        retry_after_s=RETRY_AFTER_S if holder is None else holder.lease_left_s,
    )


def check_liquidator_not_in_liquidation(given: RuleInput) -> Refusal | None:
    """-1012: the liquidator is the liquidated account, or an account with an open liquidation."""
    terms, liquidation = given.terms, given.liquidation
    assert terms is not None, _NEEDED
    assert liquidation is not None, _NEEDED
    itself = terms.liquidator_id == liquidation.account_id
    if not itself and not (given.state is not None and given.state.liquidator_in_liquidation):
        return None
    return Refusal(
        errors.LIQUIDATOR_IN_LIQUIDATION,
        "liquidator_not_in_liquidation",
        retry_after_s=RETRY_AFTER_S,
    )


def check_margin_below_maintenance(given: RuleInput) -> Refusal | None:
    """-1202: margin_ratio >= maintenance_margin_ratio; being equal is enough margin."""
    facts = given.facts
    assert facts is not None, _NEEDED
    if not facts.margin_is_enough:
        return None
    return Refusal(
        errors.MARGIN_IS_ENOUGH,
        "margin_below_maintenance",
        values={
            "margin_ratio": facts.margin_ratio_text,
            "maintenance_margin_ratio": facts.maintenance_margin_ratio_text,
        },
        subject=f"accounts/{_liquidation(given).account_id}",
    )


def check_least_request_ratio(given: RuleInput) -> Refusal | None:
    """-1201: the claim takes less than the tier's threshold, inclusive.

    On LOW the liquidation's total counts, on HIGH each requested symbol, in request order. Where
    the notional is below the threshold only the whole may be claimed.
    """
    liquidation = given.liquidation
    assert liquidation is not None, _NEEDED
    threshold = given.policy.min_claim_notional[liquidation.tier]
    for check in given.checks or ():
        ratio = check.ratio if check.ratio is not None else ZERO
        if check.notional < threshold:
            if ratio != ONE:
                return _too_small(errors.TOTAL_BELOW_THRESHOLD, given, check, threshold)
        elif product(ratio, check.notional) < threshold:
            return _too_small(errors.RATIO_TOO_SMALL, given, check, threshold)
    return None


def _too_small(
    row: errors.ErrorRow, given: RuleInput, check: ThresholdCheck, threshold: Decimal
) -> Refusal:
    values = {
        "least_req_ratio": plain(least_ratio(threshold, check.notional)),
        "total_notional": plain(check.notional),
        "min_claim_notional": plain(threshold),
    }
    subject = f"liquidations/{_liquidation(given).liquidation_id}"
    if check.symbol is not None:
        values["symbol"] = check.symbol
        subject = _position_subject(given, check.symbol)
    return Refusal(row, "least_request_ratio", values=values, subject=subject)


def check_limit_price(given: RuleInput) -> Refusal | None:
    """-1103: a claimed long's mark price is above its limit, or a claimed short's below it."""
    terms = given.terms
    assert terms is not None, _NEEDED
    if not terms.limit_price:
        return None
    for position, _ in given.claimed or ():
        limit = terms.limit_price.get(position.symbol)
        if limit is None or position.mark_price == limit:
            continue
        if (position.mark_price > limit) is (position.position_qty > ZERO):
            return Refusal(
                errors.LIMIT_PRICE_CROSSED,
                "limit_price",
                values={
                    "symbol": position.symbol,
                    "mark_price": plain(position.mark_price),
                    "limit_price": plain(limit),
                },
                subject=_position_subject(given, position.symbol),
            )
    return None


def check_liquidator_margin(given: RuleInput) -> Refusal | None:
    """-1101: after the claim the liquidator's initial margin would exceed its collateral.

    -1005 where a claimed symbol is not listed in the liquidator's account: its parameters are
    unknown then.
    """
    if given.liquidator is None:
        return None
    account = given.liquidator.account
    listed = {position.symbol for position in account.positions}
    taken: dict[str, Decimal] = {}
    for position, ratio in given.claimed or ():
        if position.symbol not in listed:
            field, problem = "liquidator.account.positions", "must list every claimed symbol"
            return wrong_format(FieldViolation(field, problem), rule="liquidator_margin")
        taken[position.symbol] = max_quantity(_terms(given), position.position_qty, ratio)
    margin = initial_margin_after(account, taken)
    if margin.sufficient:
        return None
    return Refusal(
        errors.MARGIN_INSUFFICIENT,
        "liquidator_margin",
        values={
            "initial_margin_after": plain(margin.required),
            "collateral_value": plain(account.collateral_value),
        },
        subject=f"accounts/{given.liquidator.liquidator_id}",
    )


def max_quantity(terms: Terms, quantity: Decimal, ratio: Decimal) -> Decimal:
    """The most that a claim may take of a position: quantity × (ratio + extra), signed."""
    return product(quantity, EXACT.add(ratio, terms.extra_liquidation_ratio))


# The order is the contract's: the first that refuses decides.
RULES: Final[tuple[Rule, ...]] = (
    Rule("known_fields", check_known_fields),
    Rule("well_formed", check_well_formed),
    Rule("ratio_qty_request_range", check_ratio_qty_request_range, ("terms",)),
    Rule("extra_liquidation_ratio_range", check_extra_liquidation_ratio_range, ("terms",)),
    Rule("extra_needs_full_ratio", check_extra_needs_full_ratio, ("terms",)),
    Rule("liquidation_known", check_liquidation_known, ("state",)),
    Rule("tier_shape", check_tier_shape, ("liquidation",)),
    Rule("no_claim_in_process", check_no_claim_in_process, ("liquidation",)),
    Rule("liquidator_not_in_liquidation", check_liquidator_not_in_liquidation, ("liquidation",)),
    Rule("margin_below_maintenance", check_margin_below_maintenance, ("liquidation",)),
    Rule("least_request_ratio", check_least_request_ratio, ("claimed",)),
    Rule("limit_price", check_limit_price, ("claimed",)),
    Rule("liquidator_margin", check_liquidator_margin, ("claimed", "liquidator")),
)


def _terms(given: RuleInput) -> Terms:
    assert given.terms is not None, _NEEDED
    return given.terms


def _liquidation(given: RuleInput) -> Liquidation:
    assert given.liquidation is not None, _NEEDED
    return given.liquidation


def _position_subject(given: RuleInput, symbol: str) -> str:
    return f"liquidations/{_liquidation(given).liquidation_id}/positions/{symbol}"


def _ratio_field(terms: Terms, index: int) -> str:
    place = f"symbols[{index}]." if terms.symbols else ""
    return f"terms.{place}ratio_qty_request"
