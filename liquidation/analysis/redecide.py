"""Decides a logged request again: from what its line says, under the rules that were in force.

`request` of a line is protobuf JSON, of a request that was parsed and of one that was not well
formed alike, so it becomes the message that came, and goes on with the parser of the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from liquidation.analysis.reader import Entry, Fields, text_of
from liquidation.decisionlog.entry import add_decision
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.leases import request_violations
from liquidation.rules.model import ActiveClaim, ClaimRequest, FieldViolation, StoredState
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import RULE_NAMES, Policy, PolicyError, policy_from_record
from liquidation.rules.record import liquidation_from_record
from liquidation.v1.rules_service_pb2 import CheckClaimRequest

# Versions of rules, of all processes of a log together.
_MAX_POLICIES: Final = 10_000
_MAX_UNREADABLE: Final = 100
_DEFAULT: Final = Policy()


class NotReplayableError(ValueError):
    """A line that cannot be decided again; the text says why."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a decision was made from, but for the rules. `state` is None: not asked for."""

    request: ClaimRequest
    state: StoredState | None

    def decide(self, policy: Policy, *, explain: bool = False) -> Decision:
        """The decision under these rules."""
        return evaluate(policy, replace(self.request, explain=explain), self.state)


class RulesInForce:
    """The rules that a line was decided under: what its process logged, or what stands in for it.

    `own` are the rules of processes that logged none.
    """

    def __init__(self, own: Policy | None = None) -> None:
        self._own = own
        self._of_process: dict[str, dict[str, tuple[Policy, str]]] = {}
        self._of_version: dict[str, tuple[Policy, str]] = {}
        self._versions = 0
        self._same: dict[str, Policy] = {}
        self.unreadable: list[str] = []

    def expect(self, entry: Entry) -> None:
        """Takes the rules that a process logged first: they hold for what it logged before, too."""
        if text_of(entry.fields, "process") not in self._of_process:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Takes the rules that a process logs from here on, if the line has any."""
        if entry.fields.get("event") != "rules":
            return
        process, record = text_of(entry.fields, "process"), entry.fields.get("rules")
        try:
            policy = policy_from_record(record if isinstance(record, dict) else {})
        except PolicyError as error:
            if len(self.unreadable) < _MAX_UNREADABLE:
                self.unreadable.append(f"{entry.source}: rules: {error}")
            return
        # A decision that was begun before the rules changed is logged after that, so the earlier
        # versions of a process are kept.
        known = self._of_process.setdefault(process, {})
        if policy.version not in known and self._versions >= _MAX_POLICIES:
            return
        self._versions += policy.version not in known
        # Many processes log the same rules; they are held once.
        found = self._same.setdefault(repr(policy), policy), f"the log, {entry.source}"
        known[policy.version] = self._of_version[policy.version] = found

    def of(self, fields: Fields) -> tuple[Policy, str] | None:
        """The rules of a line and where they are from; None if nothing tells them."""
        version = text_of(fields, "rules_version")
        own = self._of_process.get(text_of(fields, "process"), {}).get(version)
        if own is not None:
            return own
        if self._own is not None:
            return self._own, "the rules that were given"
        if version in self._of_version:
            return self._of_version[version]
        return (_DEFAULT, "the built-in rules") if version == _DEFAULT.version else None


def outcome_fields(decision: Decision) -> dict[str, Any]:
    """What a log line says of a decision, but for the version of the rules."""
    fields: dict[str, Any] = {}
    add_decision(fields, decision, None)
    del fields["rules_version"]
    return fields


def decision_inputs(fields: Fields) -> Inputs:
    """What the decision of a `decision` line, or of the `claim` line of a begin, was made from.

    Raises:
        NotReplayableError: it is no such line, the rules had no part in it, or its request is not
            there in full.
    """
    _require_decision(fields)
    request = fields.get("request")
    if not isinstance(request, dict):
        raise NotReplayableError("the line has no request")
    if "head_base64" in request:
        size = request.get("bytes")
        raise NotReplayableError(f"only the first bytes of the request are logged, of {size}")
    try:
        return _inputs(fields, request)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation) as error:
        problem = f"{type(error).__name__}: {error}"
        raise NotReplayableError(f"its request is not one of the service's: {problem}") from error


def _require_decision(fields: Fields) -> None:
    event, change = fields.get("event"), fields.get("change")
    if event != "decision" and (event, change) != ("claim", "begin"):
        raise NotReplayableError("the line is not that of a decision")
    if fields.get("known") is True:
        raise NotReplayableError("the request was answered before; that line has the decision")
    rule = fields.get("rule")
    if rule == "well_formed" and "masked" in fields:
        raise NotReplayableError("ids are masked, and what was wrong may have been one of them")
    if fields.get("outcome") == "refused" and rule not in RULE_NAMES:
        who = f"{rule} is no rule on what is asked" if rule else "no rule refused it"
        raise NotReplayableError(f"the rules did not decide it: {who}, code {fields.get('code')}")


def _inputs(fields: Fields, request: Mapping[str, Any]) -> Inputs:
    own: tuple[FieldViolation, ...] = ()
    if fields["event"] == "claim":
        own = request_violations(_text(fields["request_id"]), _lease(request.get("lease_ttl")))
    unknown = tuple(_text(path) for path in request.get("unknown_fields", ()))
    parsed = parse_request(_message(request), unknown, own)
    state = request.get("state")
    return Inputs(parsed, None if state is None else _state(state))


def _message(request: Mapping[str, Any]) -> CheckClaimRequest:
    """The request as the message that came; JSON has 64-bit numbers and times as texts."""
    terms = dict(request.get("terms", {}))
    if "liquidation_id" in terms:
        terms["liquidation_id"] = int(terms["liquidation_id"])
    message = CheckClaimRequest(terms=terms, liquidator=request.get("liquidator"))
    if request.get("liquidation") is not None:
        snapshot = dict(request["liquidation"])
        time = snapshot.pop("snapshot_time", None)
        for name in {"liquidation_id", "revision"} & snapshot.keys():
            snapshot[name] = int(snapshot[name])
        message.liquidation.CopyFrom(type(message.liquidation)(**snapshot))
        if time is not None:
            message.liquidation.snapshot_time.FromJsonString(time)
    return message


def _state(state: Mapping[str, Any]) -> StoredState:
    stored, active = state.get("liquidation"), state.get("active_claim")
    completed = state.get("last_completed_revision")
    claim = None
    if active is not None:
        claim = ActiveClaim(_text(active["claim_id"]), Decimal(active["lease_left_s"]))
    return StoredState(
        liquidation=None if stored is None else liquidation_from_record(stored),
        closed=bool(state["closed"]),
        liquidator_in_liquidation=bool(state["liquidator_in_liquidation"]),
        active_claim=claim,
        last_completed_revision=None if completed is None else int(completed),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value


def _lease(text: str | None) -> tuple[int, int] | None:
    """Seconds and nanoseconds of a span such as "1.500s"; both have its sign."""
    if text is None:
        return None
    sign = -1 if text.startswith("-") else 1
    seconds, _, decimals = text.removeprefix("-").removesuffix("s").partition(".")
    return sign * int(seconds), sign * int((decimals or "0").ljust(9, "0"))
