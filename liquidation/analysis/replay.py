"""Decides what was logged once more: under the rules of then, and under others.

Under the rules of then every decision has to come out as it stands in the log, to the last word;
this shows that the log has all that was decided from. Under others it may come out differently:
that is a flip.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from liquidation.analysis.reader import Entry
from liquidation.analysis.report import amount_of, is_decision, text_of
from liquidation.analysis.request_of import Inputs, NotReplayableError, decision_inputs
from liquidation.analysis.tallies import Names
from liquidation.rules.checks import slot_taken
from liquidation.rules.model import Decision
from liquidation.rules.numbers import EXACT, ZERO, plain
from liquidation.rules.policy import RULE_NAMES, Policy, PolicyError, policy_from_record

__all__ = ["Difference", "Direction", "Flip", "Replay", "RulesInForce", "told"]

# Versions of rules, of all processes of a log together.
_MAX_POLICIES: Final = 10_000
# Disagreements and lines with a problem that are told one by one; all are counted.
_MAX_TOLD: Final = 100
_DEFAULT: Final = Policy()
# Codes of refusals that stand for no rule of the policy: a fault, a key that is not good, too many
# calls, a request_id with other terms, and a store that did not answer or a caller who went away.
_OUTSIDE: Final = frozenset({-1000, -1001, -1002, -1003, -1007, -1011})


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
    """A decision that has another code under the candidate."""

    source: str
    decision_id: str
    liquidation_id: str
    account_id: str
    liquidator_id: str
    total_notional: Decimal
    code: int
    message: str
    new_code: int
    new_message: str


@dataclass(slots=True)
class Direction:
    """Flips that go the same way: how many, and their notional in USDC."""

    count: int = 0
    notional: Decimal = ZERO

    def add(self, notional: Decimal) -> None:
        """Counts one."""
        self.count += 1
        self.notional = EXACT.add(self.notional, notional)


class RulesInForce:
    """Which rules a line was decided under: what its process told, or what stands in for it."""

    def __init__(self, own: Policy | None = None) -> None:
        """`own` are the rules of processes that told none."""
        self._own = own
        self._told: dict[str, dict[str, Policy]] = {}
        self._versions = 0
        self._same: dict[str, Policy] = {}
        self.unreadable: list[str] = []

    def expect(self, entry: Entry) -> None:
        """Takes the rules that a process told first: they hold for what it logged before, too."""
        process = text_of(entry.fields, "process")
        if entry.fields.get("event") == "rules" and process not in self._told:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Takes the rules that a process tells from here on, where the line tells any."""
        if entry.fields.get("event") != "rules":
            return
        process, record = text_of(entry.fields, "process"), entry.fields.get("rules")
        try:
            policy = policy_from_record(record if isinstance(record, dict) else {})
        except PolicyError as error:
            if len(self.unreadable) < _MAX_TOLD:
                self.unreadable.append(f"{entry.source}: rules: {error}")
            return
        # A decision that was begun before the rules changed is told after that, so the earlier
        # versions of a process are kept.
        policies = self._told.setdefault(process, {})
        if policy.version not in policies and self._versions >= _MAX_POLICIES:
            return
        self._versions += policy.version not in policies
        # Many processes tell the same rules; they are held once.
        policies[policy.version] = self._same.setdefault(repr(policy), policy)

    def of(self, fields: Mapping[str, Any]) -> Policy | None:
        """The rules of a line; None where nothing tells them."""
        version = text_of(fields, "rules_version")
        told = self._told.get(text_of(fields, "process"), {}).get(version)
        if told is not None:
            return told
        if self._own is not None:
            return self._own
        return _DEFAULT if version == _DEFAULT.version else None


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
    flips: Direction = field(default_factory=Direction)
    refused_now: Direction = field(default_factory=Direction)
    accepted_now: Direction = field(default_factory=Direction)
    accounts: Names = field(default_factory=Names)
    liquidators: Names = field(default_factory=Names)
    flipped: list[Flip] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every line could be replayed, and agrees under the rules of then."""
        return not self.disagreed and not self.failed

    def add(self, entry: Entry) -> None:
        """Decides a line again where it is a decision; takes the rules where it tells them."""
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
        policy = self.rules.of(entry.fields)
        if policy is None:
            version = text_of(entry.fields, "rules_version")
            self._fail(entry, "its rules are not known", f"version {version!r:.80}")
            return
        decision = _decided(entry.fields, inputs, policy)
        now = told(decision) | _asked(inputs, decision)
        differences = list(_differences(entry, now))
        if not differences:
            self.agreed += 1
        elif _by_masked_ids(entry.fields, differences):
            self.left_out["ids that the rules look at are masked"] += 1
        else:
            self.disagreed += 1
            self.differences += differences[: max(_MAX_TOLD - len(self.differences), 0)]

    def _under_candidate(self, entry: Entry, inputs: Inputs, candidate: Policy) -> None:
        fields = entry.fields
        now = told(_decided(fields, inputs, candidate))
        before, after = _whole(fields.get("code")), _whole(now["code"])
        self.compared += 1
        self.matrix[before, after] += 1
        if before == after:
            self.reworded += now["message"] != fields.get("message")
            return
        notional = amount_of(now, "total_notional")
        self.flips.add(notional)
        if before == 0:
            self.refused_now.add(notional)
        elif after == 0:
            self.accepted_now.add(notional)
        self.accounts.add(text_of(fields, "account_id"), refused=after != 0, notional=notional)
        liquidator = text_of(fields, "liquidator_id")
        self.liquidators.add(liquidator, refused=after != 0, notional=notional)
        if len(self.flipped) < self.examples:
            self.flipped.append(_flip(entry, notional, before, now))

    def _fail(self, entry: Entry, reason: str, problem: str) -> None:
        self.failed[reason] += 1
        if len(self.failures) < _MAX_TOLD:
            self.failures.append(f"{entry.source}: {reason}: {problem}")


def told(decision: Decision) -> dict[str, Any]:
    """What a log line says of a decision."""
    refusal = decision.refusal
    line: dict[str, Any] = {
        "outcome": "accepted" if refusal is None else "refused",
        "code": 0 if refusal is None else refusal.row.code,
        "name": "" if refusal is None else refusal.row.kind.name,
        "message": "" if refusal is None else refusal.message,
        "rule": "" if refusal is None else refusal.rule,
        "total_notional": decision.total_notional,
        "least_req_ratio": decision.least_req_ratio,
        "margin_ratio": decision.margin_ratio,
        "maintenance_margin_ratio": decision.maintenance_margin_ratio,
        "revision": decision.liquidation_revision,
    }
    if decision.shadow:
        line["shadow"] = [
            {"rule": each.rule, "code": each.row.code, "message": each.message}
            for each in decision.shadow
        ]
    return line


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


def _decided(fields: Mapping[str, Any], inputs: Inputs, policy: Policy) -> Decision:
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
            yield Difference(
                entry.source, text_of(fields, "decision_id"), key, str(logged), str(decided)
            )


def _why_not(fields: Mapping[str, Any]) -> str:
    """Why a line is not to be decided again, by what it says of itself; "" where it is."""
    if fields.get("known") is True:
        return "a request_id that was known: answered as before"
    request, code = fields.get("request"), _whole(fields.get("code"))
    if isinstance(request, dict) and "head_base64" in request:
        return "the request was cut, or was no message"
    if code in _OUTSIDE and fields.get("rule") not in RULE_NAMES:
        return f"no rule of the policy decided: {code}"
    return ""


def _by_masked_ids(fields: Mapping[str, Any], differences: Iterable[Difference]) -> bool:
    """Whether a decision may differ because the log has hashes in the place of ids."""
    by_ids = {"well_formed", "liquidator_not_in_liquidation"}
    rules = {
        text for each in differences if each.key == "rule" for text in (each.logged, each.decided)
    }
    return bool(fields.get("masked")) and bool((rules | {text_of(fields, "rule")}) & by_ids)


def _flip(entry: Entry, notional: Decimal, before: int, now: Mapping[str, Any]) -> Flip:
    fields = entry.fields
    return Flip(
        entry.source,
        text_of(fields, "decision_id"),
        str(fields.get("liquidation_id", "")),
        text_of(fields, "account_id"),
        text_of(fields, "liquidator_id"),
        notional,
        before,
        text_of(fields, "message"),
        _whole(now["code"]),
        text_of(now, "message"),
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) and -10_000 < value <= 0 else -1000
