"""Finds lines of a log: those that fit a filter, and all that tell of one decision or claim."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from liquidation.analysis.reader import Entry, Fields
from liquidation.analysis.redecide import (
    NotReplayableError,
    RulesInForce,
    decision_inputs,
    outcome_fields,
)
from liquidation.rules.decision import Decision, RuleInput
from liquidation.rules.numbers import EXACT, ONE, product

_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])").fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Lines of one kind that are kept of a trail; if there are more they are counted.
_KEPT: Final = 200
# What has to be the same if a decision is made again.
_COMPARED: Final = ("code", "rule", "message", "total_notional", "least_req_ratio", "revision")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are wanted: those that fit all that is set. What is not set fits any line.

    `since` is inclusive, `until` is not. A line that lacks a key does not fit what asks for it.
    """

    codes: Collection[int] = ()
    rule: str | None = None
    account_id: str | None = None
    liquidator_id: str | None = None
    liquidation_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    min_latency_us: int | None = None

    def matches(self, fields: Fields) -> bool:
        """Whether a line is wanted."""
        exact = ("rule", "account_id", "liquidator_id", "liquidation_id", "outcome")
        code, latency_us = fields.get("code"), fields.get("latency_us")
        return (
            all(
                wanted is None or fields.get(key) == wanted
                for key, wanted in ((key, getattr(self, key)) for key in exact)
            )
            and (not self.codes or (isinstance(code, int) and code in self.codes))
            and self._in_time(fields.get("timestamp"))
            and (
                self.min_latency_us is None
                or (isinstance(latency_us, int) and latency_us >= self.min_latency_us)
            )
        )

    def _in_time(self, timestamp: object) -> bool:
        if self.since is None and self.until is None:
            return True
        if not isinstance(timestamp, str):
            return False
        return (self.since is None or timestamp >= line_time(self.since)) and (
            self.until is None or timestamp < line_time(self.until)
        )


def parse_moment(text: str, now: datetime) -> datetime | None:
    """The moment that `text` names: RFC 3339, or how long before `now`, such as `30m` or `7d`.

    A time without an offset is UTC. None if it is neither.
    """
    try:
        if (ago := _AGO(text)) is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def line_time(moment: datetime) -> str:
    """A moment as `timestamp` has it; such texts compare as the moments do."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


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
        """Takes a line if it is about the claim."""
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

    `symbol` is None on tier LOW. `over` is below zero if it takes too little; if the whole is
    worth less than the least, all of it must be taken.
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
        """One on tier LOW, one a requested symbol on tier HIGH; none if nothing is asked."""
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

    `entry` is None if only `notes` are in the log. `explained` is why it cannot be made again, if
    it cannot. `claim` is the one that it began or changed, or that was in its way.
    """

    decision_id: str
    entry: Entry | None
    notes: list[Entry]
    again: list[Entry]
    explained: Explained | str
    claim: ClaimTrail | None


def find_trail(
    entries: Callable[[], Iterable[Entry]], wanted: str
) -> DecisionTrail | ClaimTrail | None:
    """The trail of the decision or claim with the id `wanted`; None if the log has neither.

    `entries` reads the log; it is called a second time for the claim that a decision met.
    """
    rules = RulesInForce()
    under_id: list[Entry] = []
    claim = ClaimTrail(wanted)
    for each in entries():
        rules.take(each)
        if each.fields.get("decision_id") == wanted and len(under_id) < _KEPT:
            under_id.append(each)
        else:
            claim.add(each)
    if not under_id:
        return claim if claim.lines or claim.refused else None
    numbered = [entry for entry in under_id if "seq" in entry.fields]
    first = [entry for entry in numbered if entry.fields.get("known") is not True]
    entry = next(iter(first or numbered), None)
    return DecisionTrail(
        wanted,
        entry,
        notes=[each for each in under_id if "seq" not in each.fields],
        again=[each for each in numbered if each is not entry],
        explained=_explained(entry, rules),
        claim=None if entry is None else _claim_met(entry.fields, entries),
    )


def _claim_met(fields: Fields, entries: Callable[[], Iterable[Entry]]) -> ClaimTrail | None:
    claim_id = fields.get("claim_id") or _in_the_way(fields)
    if not isinstance(claim_id, str):
        return None
    claim = ClaimTrail(claim_id)
    for each in entries():
        claim.add(each)
    return claim


def _explained(entry: Entry | None, rules: RulesInForce) -> Explained | str:
    if entry is None:
        return "the line of the decision is not in the log"
    fields = entry.fields
    try:
        inputs = decision_inputs(fields)
    except NotReplayableError as error:
        return str(error)
    in_force = rules.of(fields)
    if in_force is None:
        version = str(fields.get("rules_version"))
        return f"the rules of version {version!r} are not in the log"
    policy, rules_from = in_force
    decision = inputs.decide(policy, explain=True)
    assert decision.given is not None, "the rules made it"
    found = outcome_fields(decision)
    differs = tuple(key for key in _COMPARED if found[key] != fields.get(key))
    return Explained(rules_from, decision.given, decision, differs)


def _in_the_way(fields: Fields) -> str | None:
    """The claim that held the account when a request was decided."""
    value: object = fields
    for key in ("request", "state", "active_claim", "claim_id"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None
