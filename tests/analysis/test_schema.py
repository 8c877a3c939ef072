"""The schema of a log line: what is written keeps to it, and it lets nothing else through."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from liquidation.decisionlog.observer import EVENTS
from liquidation.rules.checks import RULES
from liquidation.rules.policy import RULE_NAMES
from tests.analysis.schema import SCHEMA, problems_of

Line = dict[str, Any]


def lines_of(log: Path, event: str) -> list[Line]:
    lines = map(json.loads, log.read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def problems(line: Line) -> list[str]:
    return problems_of([json.dumps(line).encode() + b"\n"])


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_line_of_a_real_log_keeps_to_the_schema(produced_log: Path) -> None:
    with produced_log.open("rb") as lines:
        assert problems_of(lines) == []


def test_the_real_log_has_every_kind_of_line(produced_log: Path) -> None:
    decided = lines_of(produced_log, "decision")
    claims = lines_of(produced_log, "claim")
    liquidations = lines_of(produced_log, "liquidation")

    assert {line["rule"] for line in decided} == {"", *RULE_NAMES}
    assert {line["rpc"] for line in decided} == {
        "CheckClaim",
        "BatchCheckClaims",
        "StreamCheckClaims",
    }
    changes = {"begin", "renew", "complete", "cancel"}
    outcomes = {(line["change"], line["outcome"]) for line in claims}
    assert outcomes == {(each, how) for each in changes for how in ("accepted", "refused")} | {
        ("expire", "accepted")
    }
    assert {line["rule"] for line in claims} >= {"claim_known", "claim_active", "request_id_unused"}
    assert {line["change"] for line in liquidations} == {"opened", "closed", "refused"}
    for event in ("serving", "rules", "store_failed", "draining", "stopped"):
        assert lines_of(produced_log, event)


def test_the_schema_knows_every_rule() -> None:
    assert {rule.name for rule in RULES} <= set(SCHEMA["$defs"]["rule"]["enum"])


def test_the_schema_knows_every_event_that_is_counted() -> None:
    events = set(SCHEMA["properties"]["event"]["enum"])

    assert events == {*EVENTS, "log_lines_lost"}


@pytest.mark.parametrize("event", ["decision", "claim", "liquidation"])
def test_a_key_more_or_less_is_no_line_of_the_log(produced_log: Path, event: str) -> None:
    line = lines_of(produced_log, event)[0]
    optional = {"shadow", "request_id"}

    assert problems(line) == []
    assert problems(line | {"more": 1})
    for key in line.keys() - optional - {"event"}:
        assert problems({name: value for name, value in line.items() if name != key}), key


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": "2026-11-22 18:11:47"},
        {"timestamp": "2026-13-22T18:11:47.000000Z"},
        {"level": "debug"},
        {"event": "judgement"},
        {"code": "0"},
        {"code": -1201},
        {"outcome": "maybe"},
        {"rule": "no_such_rule"},
        {"latency_us": -1},
        {"total_notional": 30000},
        {"total_notional": "3e4"},
        {"total_notional": "1.50"},
        {"seq": 0},
        {"process": "PROCESS"},
        {"rpc": "BeginClaim"},
        {"request": {"state": {}}},
        {"request": {"bytes": 1}},
    ],
    ids=str,
)
def test_a_decision_with_something_else_in_it_is_no_line_of_the_log(
    produced_log: Path, change: Line
) -> None:
    accepted = next(
        line for line in lines_of(produced_log, "decision") if line["outcome"] == "accepted"
    )

    assert problems(accepted) == []
    assert problems(accepted | change)


def test_a_claim_that_is_there_tells_how_it_stands(produced_log: Path) -> None:
    granted = next(line for line in lines_of(produced_log, "claim") if line["claim_id"])

    for key in ("begin_us", "expire_us", "end_us", "end_reason", "request_id"):
        assert problems({name: value for name, value in granted.items() if name != key}), key


def test_a_note_has_what_its_event_tells(produced_log: Path) -> None:
    for event, key in (
        ("serving", "addresses"),
        ("rules", "rules"),
        ("store_failed", "problem"),
        ("stopped", "log_lines_lost"),
    ):
        note = lines_of(produced_log, event)[0]
        assert problems({name: value for name, value in note.items() if name != key}), event
        assert problems(note | {"seq": 1}), event
