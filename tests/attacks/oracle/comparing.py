"""What the server said, beside what the contract asks for: where they differ."""

from dataclasses import fields, replace
from typing import Any

import grpc

from liquidation.api.status import DOMAIN, MAX_STATUS_BYTES
from liquidation.v1 import liquidation_pb2, rules_service_pb2
from tests.attacks.oracle.answers import Answer, Result
from tests.sidecars import Details, details_of

Json = dict[str, Any]

_NUMBERS = ("total_notional", "least_req_ratio", "margin_ratio", "maintenance_margin_ratio")
# What may give way, in this order, where a status would grow too long.
_MAY_GIVE_WAY = ("trace", "margin_ratio", "maintenance_margin_ratio")
# Bytes at most of a decision beside its numbers, of a rule's result beside its words, and of the
# facts of the rule that refused beside the numbers that it told.
_DECISION, _RESULT, _FACTS = 200, 24, 400
# Which detail a refusal has besides the two that all have; that of -1202 has a third.
_DETAIL = {
    -1004: "bad_request", -1005: "bad_request", -1012: "retry", -1101: "precondition",
    -1103: "precondition", -1201: "precondition", -1202: "precondition",
}  # fmt: skip


def differences(
    expected: Answer, result: rules_service_pb2.CheckClaimResult, version: str
) -> tuple[str, list[str]]:
    """The id of the decision, "" where it gave way, and where the answer is not the expected one.

    Shadows stand in the log alone.
    """
    if result.HasField("accepted"):
        decision = result.accepted.decision
        told = _told(decision, Answer(shadow=expected.shadow))
        positions = [
            (each.symbol, each.qty, each.max_qty, each.notional)
            for each in result.accepted.positions
        ]
        found = _unequal(expected, replace(told, positions=tuple(positions)))
        return decision.decision_id, found + _of_decision(decision, expected, version)
    return _differences_of_refusal(expected, result.refused, version)


def _differences_of_refusal(expected: Answer, status: Any, version: str) -> tuple[str, list[str]]:
    details = details_of(status)
    error, info = details.error, details.info
    told = _told(
        error.decision,
        Answer(error.code, error.message, info.metadata["rule"], shadow=expected.shadow),
    )
    metadata = dict(info.metadata)
    heads = {key: metadata.pop(key) for key in ("code", "http_status", "rule")}
    told = replace(told, numbers=metadata)
    wanted, left_out = _without_what_gave_way(expected, told, error.HasField("decision"))
    found = _unequal(wanted, told)
    if left_out and status.ByteSize() + left_out <= MAX_STATUS_BYTES:
        found.append(f"left out {left_out} bytes of a status of {status.ByteSize()}")
    if error.HasField("decision"):
        found += _of_decision(error.decision, expected, version)
    found += _differences_of_heads(expected, status, details, heads)
    return error.decision.decision_id, found


def _differences_of_heads(
    expected: Answer, status: Any, details: Details, heads: dict[str, str]
) -> list[str]:
    """Of what each refusal says beside its decision."""
    error, info = details.error, details.info
    there = {
        name
        for name in ("bad_request", "precondition", "resource", "retry")
        if getattr(details, name) is not None
    }
    wanted = {_DETAIL.get(expected.code, "")}
    if expected.rule == "liquidation_known":
        wanted.add("resource")
    pairs: list[tuple[str, object, object]] = [
        ("status.code", grpc.StatusCode[expected.grpc_code].value[0], status.code),
        ("status.message", expected.words, status.message),
        ("reason", expected.name, info.reason),
        ("domain", DOMAIN, info.domain),
        ("metadata", (str(expected.code), str(expected.http_status), expected.rule),
         (heads["code"], heads["http_status"], heads["rule"])),
        ("error", (expected.name, expected.http_status), (error.name, error.http_status)),
        ("details", wanted, there),
    ]  # fmt: skip
    return [_difference(*each) for each in pairs if each[1] != each[2]]


def _told(decision: liquidation_pb2.Decision, answer: Answer) -> Answer:
    return replace(
        answer,
        **{name: getattr(decision, name) for name in _NUMBERS},
        revision=decision.liquidation_revision,
        trace=tuple(map(_result, decision.trace)),
    )


def _result(result: liquidation_pb2.RuleResult) -> Result:
    outcome = liquidation_pb2.RuleOutcome.Name(result.outcome)
    return (result.rule, outcome.removeprefix("RULE_OUTCOME_"), result.code, result.message)


def _without_what_gave_way(
    expected: Answer, told: Answer, has_decision: bool
) -> tuple[Answer, int]:
    """What is still expected of a status, and at most how many bytes it has less for that."""
    may_give_way = [*_MAY_GIVE_WAY]
    left_out, wanted = 0 if has_decision else _DECISION, expected
    if not has_decision:
        may_give_way += ["total_notional", "least_req_ratio", "revision"]
        numbers = {name: text for name, text in expected.numbers.items() if name in told.numbers}
        left_out += sum(map(len, expected.numbers.values()))
        wanted = replace(wanted, numbers=numbers)
    for name in may_give_way:
        if getattr(expected, name) and not getattr(told, name):
            wanted = replace(wanted, **{name: getattr(told, name)})
            left_out += _bytes_of(getattr(expected, name))
            if name == "trace":
                # The facts of the rule that refused are what it compared, once more.
                left_out += _FACTS + sum(map(len, expected.numbers.values()))
    return wanted, left_out


def _bytes_of(part: Any) -> int:
    if not isinstance(part, tuple):
        return len(str(part)) + 3
    return sum(len(rule) + len(words) + _RESULT for rule, _, _, words in part)


def _of_decision(decision: liquidation_pb2.Decision, expected: Answer, version: str) -> list[str]:
    told = (decision.accepted, decision.rule, decision.rules_version)
    wanted = (expected.code == 0, expected.rule, version)
    return [] if told == wanted else [_difference("decision", wanted, told)]


def differences_of_line(expected: Answer, line: Json, version: str) -> list[str]:
    """Where the line of a decision differs from the expected answer."""
    told = Answer(
        line["code"],
        line["message"],
        line["rule"],
        **{name: line[name] for name in _NUMBERS},
        revision=line["revision"],
        positions=expected.positions,
        numbers=expected.numbers,
        shadow=tuple(
            (each["rule"], each["code"], each["message"]) for each in line.get("shadow", ())
        ),
        trace=expected.trace,
    )
    found = _unequal(expected, told)
    heads = (line["outcome"], line["name"], line["rules_version"])
    wanted = ("refused" if expected.code else "accepted", expected.name, version)
    return found if heads == wanted else [*found, _difference("line", wanted, heads)]


def _unequal(expected: Answer, told: Answer) -> list[str]:
    if expected == told:
        return []
    pairs = [
        (each.name, getattr(expected, each.name), getattr(told, each.name))
        for each in fields(Answer)
    ]
    return [_difference(*each) for each in pairs if each[1] != each[2]]


def _difference(name: str, expected: object, told: object) -> str:
    return f"{name}: by the contract {expected!r}, by the service {told!r}"
