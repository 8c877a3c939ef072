"""Where the candidate rules decide otherwise, the line says how; nothing is refused by them."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from liquidation.api.calls import STORE_NOT_REACHED
from liquidation.decisionlog.entry import Disagreement, disagreement
from liquidation.decisionlog.redaction import Sampling
from liquidation.rules.model import Tier
from liquidation.rules.policy import Mode, Policy
from tests import samples
from tests.analysis.logged import replayed
from tests.analysis.schema import problems_of_log
from tests.cli.commands import run
from tests.service.metrics.at_work import at_work
from tests.unit.deciding import decision_on

HIGHER = Policy(
    version="higher", min_claim_notional={Tier.LOW: Decimal(20000), Tier.HIGH: Decimal(5000)}
)
WITHOUT_LIMITS = Policy(version="without-limits", modes={"limit_price": Mode.OFF})
HALF = samples.low_request({"ratio_qty_request": "0.5"})
TENTH = samples.low_request({"ratio_qty_request": "0.1"})
CROSSED = samples.low_request({"limit_price": {"PERP_BTC_USDC": "39999.5"}})


@pytest.mark.parametrize(
    ("request_", "candidate", "kind"),
    [
        (HALF, HIGHER, Disagreement.WOULD_REFUSE),
        (CROSSED, WITHOUT_LIMITS, Disagreement.WOULD_ACCEPT),
        (TENTH, HIGHER, Disagreement.OTHER_REFUSAL),
        (samples.low_request(), HIGHER, None),
        (TENTH, WITHOUT_LIMITS, None),
    ],
)
def test_decisions_are_compared_by_outcome_code_rule_and_words(
    request_: dict[str, Any], candidate: Policy, kind: Disagreement | None
) -> None:
    assert disagreement(decision_on(request_), decision_on(request_, policy=candidate)) is kind


def test_without_a_candidate_there_is_no_disagreement() -> None:
    assert disagreement(decision_on(HALF), None) is None


def test_a_refusal_that_no_rule_gave_is_not_compared() -> None:
    decision = replace(decision_on(HALF), refusal=STORE_NOT_REACHED)

    assert disagreement(decision, decision_on(HALF, policy=HIGHER)) is None
    assert disagreement(decision, decision_on(HALF)) is None


def test_a_line_tells_what_the_candidate_says_where_it_says_something_else(
    tmp_path: Path,
) -> None:
    with at_work(tmp_path, candidate=HIGHER) as work:
        for request in (HALF, samples.low_request(), TENTH):
            work.check(samples.check(request))
        lines = work.lines("decision")

    assert [line["code"] for line in lines] == [0, 0, -1201]
    assert [line.get("candidate") for line in lines] == [
        {
            "rules_version": "higher",
            "outcome": "refused",
            "code": -1201,
            "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
            "message": "least req ratio should = 0.6667",
            "rule": "least_request_ratio",
        },
        None,
        {
            "rules_version": "higher",
            "outcome": "refused",
            "code": -1201,
            "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
            "message": "least req ratio should = 0.6667",
            "rule": "least_request_ratio",
        },
    ]
    assert problems_of_log(tmp_path / "decisions.log") == []


def test_a_claim_is_granted_whatever_the_candidate_says_of_it(tmp_path: Path) -> None:
    with at_work(tmp_path, candidate=HIGHER) as work:
        first = work.begin("order-1", terms={"ratio_qty_request": "0.5"})
        again = work.begin("order-1", terms={"ratio_qty_request": "0.5"})
        begun, known = work.lines("claim")

    assert first is not None
    assert again == first
    assert begun["candidate"]["outcome"] == "refused"
    # What was answered before is not decided again, by no rules.
    assert known["known"]
    assert "candidate" not in known
    assert problems_of_log(tmp_path / "decisions.log") == []


def test_a_disagreement_is_told_whatever_share_of_decisions_is(tmp_path: Path) -> None:
    with at_work(tmp_path, candidate=HIGHER, sampling=Sampling(Decimal(0))) as work:
        for request in (HALF, samples.low_request(), HALF):
            work.check(samples.check(request))
        lines = work.lines("decision")

    assert [(line["outcome"], line["candidate"]["outcome"]) for line in lines] == [
        ("accepted", "refused")
    ] * 2
    assert [line["seq"] for line in lines] == [1, 2]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with an accepted decision that the candidate would refuse, and the other way about."""
    candidate = replace(HIGHER, modes={"limit_price": Mode.OFF})
    with at_work(tmp_path, candidate=candidate) as work:
        for request in (HALF, CROSSED):
            work.check(samples.check(request))
        return work.log_file


def test_tail_shows_a_disagreement(log: Path) -> None:
    first, second = run("logs", "tail", str(log)).stdout.splitlines()

    assert first.endswith("(candidate higher: least_request_ratio)")
    assert second.endswith("(candidate higher: accepted)")


def test_explain_shows_a_disagreement_and_the_caller(log: Path) -> None:
    told = " ".join(run("logs", "explain", "0123456789abcdef-1", str(log)).stdout.split())

    assert "candidate rules higher say: refused -1201 least req ratio should = 0.6667" in told
    assert "caller risk-backend" in told


def test_a_log_with_disagreements_is_decided_again_as_it_stands(log: Path) -> None:
    replay = replayed(log)

    assert (replay.decisions, replay.agreed) == (2, 2)


def test_a_line_of_before_there_was_a_caller_is_read_as_ever(log: Path) -> None:
    old = log.with_name("old.log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        del line["caller"]
        line.pop("candidate", None)
    old.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert replayed(old).agreed == 2
    for command in (("tail",), ("explain", "0123456789abcdef-1"), ("stats",)):
        shown = run("logs", *command, str(old))
        assert (shown.exit_code, shown.stderr) == (0, "")
