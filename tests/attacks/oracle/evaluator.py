"""A second reading of the rules: fractions over a request's JSON, and nothing of the service.

It is written from the contract of the API alone and shares no code with what it judges. Where the
contract leaves the choice to the service, the choice is named with "Choice:".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from tests.attacks.oracle.answers import Answer, InForce, Numbers, Result, State
from tests.attacks.oracle.margins import initial_margin, margin_ratios, notional
from tests.attacks.oracle.numbers import four_digits_up, number, shown
from tests.attacks.oracle.question import Question

Json = Mapping[str, Any]
RULES = (
    "known_fields",
    "well_formed",
    "ratio_qty_request_range",
    "extra_liquidation_ratio_range",
    "extra_needs_full_ratio",
    "liquidation_known",
    "tier_shape",
    "no_claim_in_process",
    "liquidator_not_in_liquidation",
    "margin_below_maintenance",
    "least_request_ratio",
    "limit_price",
    "liquidator_margin",
)
_ALWAYS_ASKED = RULES[:2]
_OF_TERMS_ALONE = RULES[2:6]
_OF_WHAT_IS_CLAIMED = RULES[10:]

WRONG_FORMAT = "Some parameters are in wrong format for api."
_IN_PROCESS = "Another liquidation is in process"
_IN_LIQUIDATION = (
    "The place/cancel order request is rejected by internal module, it may because the account is "
    "in liquidation or other internal errors. Please try again in a few seconds."
)
_FULL_RATIO = "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1."


@dataclass(frozen=True)
class _Refusal:
    code: int
    words: str
    numbers: Numbers = field(default_factory=dict)


def evaluate(
    request: Json, state: State, in_force: InForce, *, unknown_field: bool = False
) -> Answer:
    """The answer to `request`, which has a field of no known number where `unknown_field`."""
    question = _Rules(request, state, in_force, unknown_field=unknown_field)
    shadow: list[tuple[str, int, str]] = []
    trace: list[Result] = []
    decisive: tuple[str, _Refusal] | None = None
    explain = bool(request.get("explain"))
    for rule in RULES:
        mode = in_force.modes.get(rule, "enforce")
        if mode == "off" or not question.has_to_be_asked(rule):
            trace.append((rule, "SKIPPED", 0, ""))
            continue
        refusal = getattr(question, rule)()
        if refusal is None:
            trace.append((rule, "PASSED", 0, ""))
            continue
        outcome = "SHADOW_REFUSED" if mode == "shadow" else "REFUSED"
        trace.append((rule, outcome, refusal.code, refusal.words))
        if decisive is None and mode == "shadow":
            shadow.append((rule, refusal.code, refusal.words))
        elif decisive is None:
            decisive = rule, refusal
        if decisive is not None and not explain:
            break
    told = question.numbers() | {"shadow": tuple(shadow), "trace": tuple(trace) if explain else ()}
    if decisive is None:
        return Answer(**told, positions=question.claimed_positions())
    rule, refusal = decisive
    return Answer(refusal.code, refusal.words, rule, **told, numbers=refusal.numbers)


def begun(checked: Answer, state: State) -> Answer:
    """What BeginClaim answers where CheckClaim answers `checked`.

    An account has one slot, whatever the mode of the rule that looks at it.
    """
    if checked.code or not state.active_claim:
        return checked
    numbers = {"claim_id": state.active_claim}
    rule = "no_claim_in_process"
    return replace(checked, code=-1012, words=_IN_PROCESS, rule=rule, numbers=numbers, positions=())


class _Rules(Question):
    """The rules about a question: a method of a rule's name gives what the rule has against it."""

    def has_to_be_asked(self, rule: str) -> bool:
        """Whether there is anything for a rule to look at; else it is skipped."""
        if rule in _ALWAYS_ASKED:
            return True
        if rule in _OF_TERMS_ALONE:
            return self.is_well_formed
        if self.decided_on is None:
            return False
        if rule in _OF_WHAT_IS_CLAIMED:
            # Choice: of terms that do not fit the liquidation nothing is claimed.
            return self.fits_tier and (rule != "liquidator_margin" or self.liquidator is not None)
        return True

    def known_fields(self) -> _Refusal | None:
        return _Refusal(-1004, "An unknown parameter was sent.") if self.unknown_field else None

    def well_formed(self) -> _Refusal | None:
        return None if self.is_well_formed else _Refusal(-1005, WRONG_FORMAT)

    def ratio_qty_request_range(self) -> _Refusal | None:
        for _, ratio in self.ratios:
            if not 0 <= ratio <= 1:
                words = "ratio_qty_request should be in range 0-1."
                return _Refusal(-1005, words, {"ratio_qty_request": shown(ratio)})
        return None

    def extra_liquidation_ratio_range(self) -> _Refusal | None:
        if 0 <= self.extra <= 1:
            return None
        words = "extra_liquidation_ratio should be in range 0-1."
        return _Refusal(-1005, words, {"extra_liquidation_ratio": shown(self.extra)})

    def extra_needs_full_ratio(self) -> _Refusal | None:
        partial = [ratio for _, ratio in self.ratios if ratio != 1]
        if self.extra <= 0 or not partial:
            return None
        numbers = {
            "extra_liquidation_ratio": shown(self.extra),
            "ratio_qty_request": shown(partial[0]),
        }
        return _Refusal(-1005, _FULL_RATIO, numbers)

    def liquidation_known(self) -> _Refusal | None:
        if self.decided_on is not None:
            return None
        numbers = {"liquidation_id": str(self.terms["liquidation_id"])}
        return _Refusal(-1202, "Can not find given liquidationId.", numbers)

    def tier_shape(self) -> _Refusal | None:
        return None if self.fits_tier else _Refusal(-1005, WRONG_FORMAT)

    def no_claim_in_process(self) -> _Refusal | None:
        if self.state.active_claim:
            return _Refusal(-1012, _IN_PROCESS, {"claim_id": self.state.active_claim})
        completed = self.state.last_completed_revision
        revision = self.liquidation["revision"]
        if completed is None or revision > completed:
            return None
        numbers = {"revision": str(revision), "last_completed_revision": str(completed)}
        return _Refusal(-1012, _IN_PROCESS, numbers)

    def liquidator_not_in_liquidation(self) -> _Refusal | None:
        claimant = self.terms["liquidator_id"]
        itself = claimant == self.liquidation["account_id"]
        if itself or claimant in self.state.open_accounts:
            return _Refusal(-1012, _IN_LIQUIDATION)
        return None

    @cached_property
    def _margins(self) -> dict[str, str]:
        names = ("margin_ratio", "maintenance_margin_ratio")
        return dict(zip(names, map(shown, self._margin_ratios), strict=True))

    @cached_property
    def _margin_ratios(self) -> tuple[Fraction, Fraction]:
        return margin_ratios(self.liquidation)

    def margin_below_maintenance(self) -> _Refusal | None:
        margin_ratio, maintenance = self._margin_ratios
        if margin_ratio < maintenance:
            return None
        words = "No need to liquidation because user margin is enough."
        return _Refusal(-1202, words, self._margins)

    def _least(self, value: Fraction) -> Fraction:
        threshold = self.threshold
        return Fraction(1) if value < threshold else four_digits_up(threshold / value)

    def least_request_ratio(self) -> _Refusal | None:
        threshold = self.threshold
        for (symbol, value), (_, ratio) in zip(self.demands, self.ratios, strict=True):
            enough = ratio == 1 if value < threshold else ratio * value >= threshold
            if enough:
                continue
            least = shown(self._least(value))
            words = f"least req ratio should = {least}"
            if value < threshold:
                words = f"total notional < {shown(threshold)}, {words}"
            numbers = {
                "total_notional": shown(value),
                "min_claim_notional": shown(threshold),
                "least_req_ratio": least,
            }
            return _Refusal(-1201, words, numbers | ({"symbol": symbol} if symbol else {}))
        return None

    def limit_price(self) -> _Refusal | None:
        limits = self.terms.get("limit_price", {})
        for position, _ in self.claimed if limits else ():
            if position["symbol"] not in limits:
                continue
            mark, limit = number(position["mark_price"]), number(limits[position["symbol"]])
            if (mark - limit) * number(position["position_qty"]) > 0:
                numbers = {"mark_price": shown(mark), "limit_price": shown(limit)}
                words = "The order price is not following the scope or range rules."
                return _Refusal(-1103, words, numbers | {"symbol": position["symbol"]})
        return None

    def liquidator_margin(self) -> _Refusal | None:
        assert self.liquidator is not None
        account = self.liquidator["account"]
        taken = {
            position["symbol"]: number(position["position_qty"]) * (ratio + self.extra)
            for position, ratio in self.claimed
        }
        if not taken.keys() <= {each["symbol"] for each in account.get("positions", [])}:
            return _Refusal(-1005, WRONG_FORMAT)
        needed, collateral = initial_margin(account, taken), number(account["collateral_value"])
        if needed <= collateral:
            return None
        numbers = {"initial_margin_after": shown(needed), "collateral_value": shown(collateral)}
        return _Refusal(-1101, "The margin will be insufficient after.", numbers)

    def numbers(self) -> dict[str, Any]:
        """The numbers of the decision, as far as they can be told."""
        if self.decided_on is None:
            return {}
        told: dict[str, Any] = self._margins | {"revision": self.decided_on["revision"]}
        if values := [value for _, value in self.demands]:
            told["total_notional"] = shown(sum(values, Fraction(0)))
            told["least_req_ratio"] = shown(max(map(self._least, values)))
        return told

    def claimed_positions(self) -> tuple[tuple[str, str, str, str], ...]:
        """What a claim that is accepted takes of each position."""
        positions = []
        for position, ratio in self.claimed:
            quantity = number(position["position_qty"])
            taken, most = shown(quantity * ratio), shown(quantity * (ratio + self.extra))
            value = shown(abs(ratio) * notional(position))
            positions.append((position["symbol"], taken, most, value))
        return tuple(positions)
