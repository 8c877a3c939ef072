"""The story of a decision and of a claim; and that every decision can be made again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liquidation.analysis.reader import Entry, Reader
from liquidation.analysis.redecide import NotReplayableError, decision_inputs
from liquidation.analysis.search import ClaimTrail, DecisionTrail, Explained, find_trail
from liquidation.rules.policy import RULE_NAMES, Policy, policy_record
from tests import samples
from tests.sidecars import running

Json = dict[str, Any]


def entries_of(log: Path) -> list[Entry]:
    return list(Reader([log]))


def the_line(log: Path, fits: Callable[[Json], object]) -> Json:
    return next(entry.fields for entry in entries_of(log) if fits(entry.fields))


def decision_story(log: Path, wanted: str) -> DecisionTrail:
    story = find_trail(lambda: Reader([log]), wanted)
    assert isinstance(story, DecisionTrail)
    return story


def claim_story(log: Path, wanted: str) -> ClaimTrail:
    story = find_trail(lambda: Reader([log]), wanted)
    assert isinstance(story, ClaimTrail)
    return story


def as_log(*lines: Json) -> Callable[[], list[Entry]]:
    entries = [Entry(line, b"", "log", number) for number, line in enumerate(lines, 1)]
    return lambda: entries


def test_every_decision_of_the_rules_is_made_again_as_it_was(produced_log: Path) -> None:
    again = set()
    for entry in entries_of(produced_log):
        try:
            inputs = decision_inputs(entry.fields)
        except NotReplayableError:
            continue
        decision = inputs.decide(Policy())
        refusal = decision.refusal
        assert (0 if refusal is None else refusal.row.code) == entry.fields["code"]
        assert ("" if refusal is None else refusal.rule) == entry.fields["rule"]
        assert ("" if refusal is None else refusal.message) == entry.fields["message"]
        assert decision.liquidation_revision == entry.fields["revision"]
        again.add((entry.fields["event"], entry.fields["rule"]))

    assert again >= {("decision", rule) for rule in ("", *RULE_NAMES)}
    assert again >= {("claim", rule) for rule in ("", "well_formed", "no_claim_in_process")}


def test_what_cannot_be_made_again_says_why(produced_log: Path) -> None:
    reasons = set()
    for entry in entries_of(produced_log):
        if entry.fields["event"] in {"decision", "claim"}:
            try:
                decision_inputs(entry.fields)
            except NotReplayableError as error:
                reasons.add(str(error))

    assert reasons == {
        "the line is not that of a decision",
        "the request was answered before; that line has the decision",
        "only the first bytes of the request are logged, of 0",
        "only the first bytes of the request are logged, of 3",
        "only the first bytes of the request are logged, of 20024",
        "the rules did not decide it: no rule refused it, code -1011",
        "the rules did not decide it: request_id_unused is no rule on what is asked, code -1007",
    }


@pytest.mark.parametrize(
    "request_",
    [
        None,
        7,
        {"terms": 1},
        {"terms": {"liquidator_id": 7}},
        {"terms": {"liquidation_id": "x"}},
        {"terms": {"symbols": ["x"]}},
        {"liquidation": {"tier": "TIER_MIDDLE"}},
        {"liquidation": {"snapshot_time": "yesterday"}},
        {"state": {}},
        {"state": {"closed": False, "liquidator_in_liquidation": False, "liquidation": {}}},
        {"state": {"closed": 0, "liquidator_in_liquidation": 0, "active_claim": {"claim_id": "x"}}},
    ],
    ids=str,
)
def test_a_request_that_nobody_logged_is_not_made_again(request_: object) -> None:
    line = {"event": "decision", "outcome": "accepted", "rule": "", "request": request_}

    with pytest.raises(NotReplayableError):
        decision_inputs(line)


def test_the_story_of_a_claim_goes_from_its_begin_to_its_end(produced_log: Path) -> None:
    begun = the_line(produced_log, lambda each: each.get("change") == "begin" and each["claim_id"])

    story = claim_story(produced_log, begun["claim_id"])

    told = [(each.fields["change"], each.fields["code"]) for each in story.lines]
    assert told == [
        ("begin", 0),
        ("begin", 0),
        ("renew", 0),
        ("complete", -1202),
        ("complete", 0),
        ("complete", 0),
        ("cancel", -1202),
    ]
    assert [each.fields["event"] for each in story.refused] == ["claim", "decision"]
    assert (story.lines_in_all, story.refused_in_all) == (7, 2)


def test_a_decision_that_was_given_again_is_told_once_with_the_others_beside_it(
    produced_log: Path,
) -> None:
    known = the_line(produced_log, lambda each: each.get("known") is True)

    story = decision_story(produced_log, known["decision_id"])

    assert story.entry is not None
    assert story.entry.fields["known"] is False
    assert [each.fields for each in story.again] == [known]
    assert isinstance(story.explained, Explained)


def test_what_went_wrong_with_the_store_stands_beside_the_decision(produced_log: Path) -> None:
    note = the_line(produced_log, lambda each: each["event"] == "store_failed")

    story = decision_story(produced_log, note["decision_id"])

    assert [each.fields for each in story.notes] == [note]
    assert story.entry is not None
    assert isinstance(story.explained, str)
    assert "-1011" in story.explained


def test_a_decision_whose_line_was_lost_is_told_by_what_is_left() -> None:
    note = {"event": "fault", "decision_id": "p-1", "traceback": "Error"}

    story = find_trail(as_log(note), "p-1")

    assert isinstance(story, DecisionTrail)
    assert story.entry is None
    assert story.explained == "the line of the decision is not in the log"


async def a_line(folder: Path, policy: Policy) -> list[Json]:
    """The lines of a server under these rules that was asked once."""
    async with running(folder, policy) as server:
        await server.check(samples.check(samples.low_request()))
    return [json.loads(line) for line in server.log_file.read_text().splitlines()]


async def test_a_decision_is_made_again_by_the_rules_of_its_process(tmp_path: Path) -> None:
    own = Policy("v7")
    lines = await a_line(tmp_path, own)
    (line,) = [each for each in lines if each["event"] == "decision"]
    other = {"event": "rules", "process": "other", "rules": policy_record(Policy("v8"))}
    notes = [each for each in lines if each["event"] == "rules"]

    found = find_trail(as_log(*notes, other, line), line["decision_id"])
    lost = find_trail(as_log(other, line), line["decision_id"])

    assert isinstance(found, DecisionTrail)
    assert isinstance(found.explained, Explained)
    assert found.explained.given.policy.version == "v7"
    assert isinstance(lost, DecisionTrail)
    assert lost.explained == "the rules of version 'v7' are not in the log"


async def test_the_built_in_rules_are_known_without_the_log(tmp_path: Path) -> None:
    lines = await a_line(tmp_path, Policy())
    (line,) = [each for each in lines if each["event"] == "decision"]

    story = find_trail(as_log(line), line["decision_id"])

    assert isinstance(story, DecisionTrail)
    assert isinstance(story.explained, Explained)
    assert story.explained.rules_from == "the built-in rules"


async def test_a_decision_that_comes_out_otherwise_is_told_to_differ(tmp_path: Path) -> None:
    lines = await a_line(tmp_path, Policy())
    (line,) = [each for each in lines if each["event"] == "decision"]
    line["request"]["terms"]["ratio_qty_request"] = "0.1"

    story = find_trail(as_log(line), line["decision_id"])

    assert isinstance(story, DecisionTrail)
    assert isinstance(story.explained, Explained)
    assert story.explained.differs == ("code", "rule", "message")
