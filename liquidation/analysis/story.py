"""The story of one decision, or of one claim, put together from all lines that tell of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from liquidation.analysis.reader import Entry
from liquidation.analysis.request_of import NotReplayableError, decision_inputs
from liquidation.rules.model import Decision, RuleInput
from liquidation.rules.numbers import EXACT, ONE, product
from liquidation.rules.policy import Policy, PolicyError, policy_from_record

__all__ = ["ClaimTrail", "DecisionTrail", "Distance", "Explained", "find_story"]

# Lines of one kind that are kept of a story; what has more is counted.
_KEPT: Final = 200
# Processes, and versions of rules, that are remembered.
_MAX_RULES: Final = 10_000
# What has to be the same where a decision is made again.
_COMPARED: Final = ("code", "rule", "message", "total_notional", "least_req_ratio", "revision")


@dataclass(slots=True)
class ClaimTrail:
    """A claim from its begin to its end, as far as the log has it.

    `lines` are all changes that were asked for, in order; `refused` are the first decisions that
    were refused because of it, of `refused_in_all`.
    """

    claim_id: str
    lines: list[Entry] = field(default_factory=list)
    lines_in_all: int = 0
    refused: list[Entry] = field(default_factory=list)
    refused_in_all: int = 0

    def add(self, entry: Entry) -> None:
        """Takes a line, where it is about the claim."""
        fields = entry.fields
        if fields["event"] == "claim" and fields.get("claim_id") == self.claim_id:
            self.lines_in_all += 1
            if len(self.lines) < _KEPT:
                self.lines.append(entry)
        elif _in_the_way(fields) == self.claim_id and fields.get("rule") == "no_claim_in_process":
            self.refused_in_all += 1
            if len(self.refused) < _KEPT:
                self.refused.append(entry)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a claim is from the least that one must take; amounts in USDC.

    `symbol` is None on tier LOW. `over` is below zero where it takes too little; where the whole
    is worth less than the least, all of it must be taken.
    """

    symbol: str | None
    ratio: Decimal
    notional: Decimal
    takes: Decimal
    least: Decimal
    over: Decimal

    @property
    def passes(self) -> bool:
        """Whether it takes enough."""
        return self.ratio == ONE if self.notional < self.least else self.over >= 0


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision made again: under which rules, what came of it, and what differs from the line."""

    rules_from: str
    given: RuleInput
    decision: Decision
    differs: tuple[str, ...]

    def distances(self) -> list[Distance]:
        """One on tier LOW, one a requested symbol on tier HIGH; none where nothing is asked."""
        liquidation, checks = self.given.liquidation, self.given.checks
        if liquidation is None or checks is None:
            return []
        least = self.given.policy.min_claim_notional[liquidation.tier]
        found = []
        for check in checks:
            if check.ratio is not None:
                takes = product(check.ratio, check.notional)
                over = EXACT.subtract(takes, least)
                found.append(
                    Distance(check.symbol, check.ratio, check.notional, takes, least, over)
                )
        return found


@dataclass(frozen=True, slots=True)
class DecisionTrail:
    """A decision: its line, what else stands under its id, and the decision made again.

    `entry` is None where only `notes` are in the log. `explained` is None where it cannot be made
    again; `why_not` then says why. `claim` is the one that it began or changed, or that was in its
    way.
    """

    decision_id: str
    entry: Entry | None
    notes: list[Entry]
    again: list[Entry]
    explained: Explained | None
    why_not: str
    claim: ClaimTrail | None


class _Rules:
    """The rules that processes told to be in force."""

    def __init__(self) -> None:
        self._of_process: dict[str, Entry] = {}
        self._of_version: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        rules, process = entry.fields.get("rules"), entry.fields.get("process")
        if not isinstance(rules, dict) or len(self._of_process) >= _MAX_RULES:
            return
        self._of_process[str(process)] = entry
        self._of_version[str(rules.get("version"))] = entry

    def of(self, fields: Mapping[str, Any]) -> tuple[Policy, str]:
        """The rules that a line was decided by, and where they are from."""
        version = str(fields.get("rules_version"))
        own = self._of_process.get(str(fields.get("process")))
        if own is None or str(own.fields["rules"].get("version")) != version:
            own = self._of_version.get(version)
        if own is not None:
            try:
                return policy_from_record(own.fields["rules"]), f"the log, {own.source}"
            except PolicyError as error:
                raise NotReplayableError(f"the rules at {own.source}: {error}") from error
        if version == Policy().version:
            return Policy(), "the built-in rules"
        raise NotReplayableError(f"the rules of version {version!r} are not in the log")


def find_story(
    entries: Callable[[], Iterable[Entry]], wanted: str
) -> DecisionTrail | ClaimTrail | None:
    """The story of the decision or claim with the id `wanted`; None where the log has neither.

    `entries` reads the log; it is called a second time for the claim that a decision met.
    """
    rules = _Rules()
    under_id: list[Entry] = []
    claim = ClaimTrail(wanted)
    for entry in entries():
        if entry.fields["event"] == "rules":
            rules.add(entry)
        elif entry.fields.get("decision_id") == wanted and len(under_id) < _KEPT:
            under_id.append(entry)
        else:
            claim.add(entry)
    if not under_id:
        return claim if claim.lines or claim.refused else None
    return _decision_story(wanted, under_id, rules, entries)


def _decision_story(
    decision_id: str,
    under_id: list[Entry],
    rules: _Rules,
    entries: Callable[[], Iterable[Entry]],
) -> DecisionTrail:
    numbered = [entry for entry in under_id if "seq" in entry.fields]
    first = [entry for entry in numbered if entry.fields.get("known") is not True]
    entry = next(iter(first or numbered), None)
    explained, why_not = None, "the line of the decision is not in the log"
    claim = None
    if entry is not None:
        explained, why_not = _explained(entry.fields, rules)
        claim_id = entry.fields.get("claim_id") or _in_the_way(entry.fields)
        if isinstance(claim_id, str):
            claim = ClaimTrail(claim_id)
            for each in entries():
                claim.add(each)
    notes = [each for each in under_id if "seq" not in each.fields]
    again = [each for each in numbered if each is not entry]
    return DecisionTrail(decision_id, entry, notes, again, explained, why_not, claim)


def _explained(fields: Mapping[str, Any], rules: _Rules) -> tuple[Explained | None, str]:
    try:
        inputs = decision_inputs(fields)
        policy, rules_from = rules.of(fields)
    except NotReplayableError as error:
        return None, str(error)
    decision = inputs.decide(policy, explain=True)
    assert decision.given is not None, "the rules made it"
    found = _compared(decision)
    differs = tuple(key for key in _COMPARED if found[key] != fields.get(key))
    return Explained(rules_from, decision.given, decision, differs), ""


def _compared(decision: Decision) -> dict[str, Any]:
    """What a line would say of a decision."""
    refusal = decision.refusal
    return {
        "code": 0 if refusal is None else refusal.row.code,
        "rule": "" if refusal is None else refusal.rule,
        "message": "" if refusal is None else refusal.message,
        "total_notional": decision.total_notional,
        "least_req_ratio": decision.least_req_ratio,
        "revision": decision.liquidation_revision,
    }


def _in_the_way(fields: Mapping[str, Any]) -> str | None:
    """The claim that held the account when a request was decided."""
    value: object = fields
    for key in ("request", "state", "active_claim", "claim_id"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None
