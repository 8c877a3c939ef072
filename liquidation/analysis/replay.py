"""Decides a log again: under the rules of then, and under others.

Under the rules of then every decision has to come out as it stands in the log, to the last word;
this shows that the log has all that was decided from. Under others it may come out differently:
that is a flip.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from liquidation.analysis.counters import Count, TopK, parse_amount
from liquidation.analysis.reader import Entry, Fields, code_of, is_decision, text_of
from liquidation.analysis.redecide import (
    Inputs,
    NotReplayableError,
    RulesInForce,
    decision_inputs,
    outcome_fields,
)
from liquidation.rules.checks import slot_taken
from liquidation.rules.decision import Decision
from liquidation.rules.numbers import plain
from liquidation.rules.policy import RULE_NAMES, Policy

# Disagreements and lines with a problem that are listed one by one; all are counted.
_MAX_LISTED: Final = 100
# Codes of refusals that stand for no rule of the policy: a fault, a key that is not good, too many
# calls, a request_id with other terms, and a store that did not answer or a caller who went away.
_OUTSIDE: Final = frozenset({-1000, -1001, -1002, -1003, -1007, -1011})
# Accounts, and liquidators, that are listed as the most affected.
_MOST: Final = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that comes out differently under the rules that it was made with."""

    source: str
    decision_id: str
    key: str
    logged: str
    decided: str


@dataclass(frozen=True, slots=True)
class Flip:
    """A decision that has another code under the candidate; the notional is exact USDC."""

    source: str
    decision_id: str
    liquidation_id: str
    account_id: str
    liquidator_id: str
    total_notional: str
    code: int
    message: str
    candidate_code: int
    candidate_message: str


@dataclass
class Replay:
    """What came of deciding a log's lines again, in bounded memory."""

    rules: RulesInForce
    candidate: Policy | None = None
    examples: int = 10
    decisions: int = 0
    agreed: int = 0
    disagreed: int = 0
    differences: list[Difference] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    compared: int = 0
    reworded: int = 0
    matrix: Counter[tuple[int, int]] = field(default_factory=Counter)
    flips: Count = field(default_factory=Count)
    refused_now: Count = field(default_factory=Count)
    accepted_now: Count = field(default_factory=Count)
    accounts: TopK = field(default_factory=TopK)
    liquidators: TopK = field(default_factory=TopK)
    flipped: list[Flip] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether every line could be replayed, and agrees under the rules of then."""
        return not self.disagreed and not self.failed

    def add(self, entry: Entry) -> None:
        """Decides a line again if it is a decision; takes the rules if it has them."""
        fields = entry.fields
        self.rules.take(entry)
        if not is_decision(fields) and fields.get("known") is not True:
            return
        self.decisions += 1
        if reason := _why_not(fields):
            self.left_out[reason] += 1
            return
        try:
            inputs = decision_inputs(fields)
        except NotReplayableError as error:
            self._fail(entry, "its request cannot be read", str(error))
            return
        self._under_own(entry, inputs)
        if self.candidate is not None:
            self._under_candidate(entry, inputs, self.candidate)

    def _under_own(self, entry: Entry, inputs: Inputs) -> None:
        rules = self.rules.of(entry.fields)
        if rules is None:
            version = text_of(entry.fields, "rules_version")
            self._fail(entry, "its rules are not known", f"version {version!r:.80}")
            return
        decision = _decided(entry.fields, inputs, rules[0])
        now = outcome_fields(decision) | _asked(inputs, decision)
        differences = list(_differences(entry, now))
        if not differences:
            self.agreed += 1
        elif _by_masked_ids(entry.fields, differences):
            self.left_out["ids that the rules look at are masked"] += 1
        else:
            self.disagreed += 1
            self.differences += differences[: max(_MAX_LISTED - len(self.differences), 0)]

    def _under_candidate(self, entry: Entry, inputs: Inputs, candidate: Policy) -> None:
        fields = entry.fields
        now = outcome_fields(_decided(fields, inputs, candidate))
        before, after = code_of(fields), code_of(now)
        self.compared += 1
        self.matrix[before, after] += 1
        if before == after:
            self.reworded += now["message"] != fields.get("message")
            return
        notional, refused = parse_amount(now["total_notional"]), int(after != 0)
        self.flips.add(1, refused, notional)
        if before == 0:
            self.refused_now.add(1, refused, notional)
        elif after == 0:
            self.accepted_now.add(1, refused, notional)
        self.accounts.add(text_of(fields, "account_id"), 1, refused, notional)
        self.liquidators.add(text_of(fields, "liquidator_id"), 1, refused, notional)
        if len(self.flipped) < self.examples:
            self.flipped.append(_flip(entry, notional, now))

    def _fail(self, entry: Entry, reason: str, problem: str) -> None:
        self.failed[reason] += 1
        if len(self.failures) < _MAX_LISTED:
            self.failures.append(f"{entry.source}: {reason}: {problem}")

    def record(self, broken: int) -> dict[str, Any]:
        """What came of it, as a JSON object; `broken` lines were none of the log's."""
        failed = dict(self.failed.most_common())
        return {
            "decisions": self.decisions,
            "agreed": self.agreed,
            "disagreed": self.disagreed,
            "differences": self.differences,
            "left_out": dict(self.left_out.most_common()),
            "failed": failed | ({"none of the log's lines": broken} if broken else {}),
            "failures": [*self.failures, *self.rules.unreadable],
            "candidate": None if self.candidate is None else self._candidate(self.candidate),
        }

    def _candidate(self, candidate: Policy) -> dict[str, Any]:
        return {
            "rules_version": candidate.version,
            "decided": self.compared,
            "flips": _flips(self.flips),
            "accepted_to_refused": _flips(self.refused_now),
            "refused_to_accepted": _flips(self.accepted_now),
            "same_code_other_words": self.reworded,
            "matrix": [
                {"from": before, "to": after, "count": count}
                for (before, after), count in sorted(self.matrix.items(), reverse=True)
            ],
            "accounts": _most_affected(self.accounts),
            "liquidators": _most_affected(self.liquidators),
            "examples": self.flipped,
        }


def _flips(flips: Count) -> dict[str, Any]:
    return {"count": flips.lines, "total_notional": plain(flips.notional)}


def _most_affected(names: TopK) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "flips": flips.lines,
            "now_refused": flips.refused,
            "total_notional": plain(flips.notional),
        }
        for name, flips in names.top(_MOST)
    ]


def _asked(inputs: Inputs, decision: Decision) -> dict[str, Any]:
    """What a log line says of a request that could be read."""
    terms, snapshot = inputs.request.terms, inputs.request.snapshot
    if terms is None:
        return {}
    ratio = terms.ratio_qty_request
    return {
        "liquidation_id": terms.liquidation_id,
        "account_id": decision.account_id or ("" if snapshot is None else snapshot.account_id),
        "liquidator_id": terms.liquidator_id,
        "ratio_qty_request": "" if ratio is None else plain(ratio),
        "extra_liquidation_ratio": plain(terms.extra_liquidation_ratio),
    }


def _decided(fields: Fields, inputs: Inputs, policy: Policy) -> Decision:
    decision = inputs.decide(policy)
    state = inputs.state
    held = state is not None and state.active_claim is not None
    if fields.get("event") == "claim" and decision.accepted and held:
        # Rule 8 is not enforced; the store's one slot an account is, always.
        decision = replace(decision, refusal=slot_taken(state))
    return decision


def _differences(entry: Entry, now: Mapping[str, Any]) -> Iterable[Difference]:
    fields = entry.fields
    for key in {**now, "shadow": None}:
        logged, decided = fields.get(key), now.get(key)
        if logged != decided or type(logged) is not type(decided):
            decision_id = text_of(fields, "decision_id")
            yield Difference(entry.source, decision_id, key, str(logged), str(decided))


def _why_not(fields: Fields) -> str:
    """Why a line is not to be decided again, by what it says of itself; "" if it is."""
    if fields.get("known") is True:
        return "a request_id that was known: answered as before"
    request, code = fields.get("request"), code_of(fields)
    if isinstance(request, dict) and "head_base64" in request:
        return "the request was cut, or was no message"
    if code in _OUTSIDE and fields.get("rule") not in RULE_NAMES:
        return f"no rule of the policy decided: {code}"
    return ""


def _by_masked_ids(fields: Fields, differences: Iterable[Difference]) -> bool:
    """Whether a decision may differ because the log has hashes in the place of ids."""
    by_ids = {"well_formed", "liquidator_not_in_liquidation"}
    rules = {text_of(fields, "rule")}
    for each in differences:
        if each.key == "rule":
            rules |= {each.logged, each.decided}
    return bool(fields.get("masked")) and bool(rules & by_ids)


def _flip(entry: Entry, notional: Decimal, now: Fields) -> Flip:
    fields = entry.fields
    return Flip(
        entry.source,
        text_of(fields, "decision_id"),
        str(fields.get("liquidation_id", "")),
        text_of(fields, "account_id"),
        text_of(fields, "liquidator_id"),
        plain(notional),
        code_of(fields),
        text_of(fields, "message"),
        code_of(now),
        text_of(now, "message"),
    )
