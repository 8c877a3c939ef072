"""A tally finds what was answered wrong, not answered, or not logged once."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.soak.asking import Ask
from tests.attacks.soak.tally import Tally

CHECK = Ask("CheckClaim")
RENEW = Ask("RenewClaim")
PID = 77


def line(seq: int, rpc: str = "CheckClaim", **others: Any) -> dict[str, Any]:
    event = "decision" if rpc.endswith(("Claims", "CheckClaim")) else "claim"
    told = {"event": event, "rpc": rpc, "process": "p", "seq": seq, "decision_id": f"p-{seq}"}
    return told | others


SERVING = {"event": "worker_serving", "process": "p", "pid": PID}
LOG = [SERVING, line(1), line(2), line(3, "RenewClaim")]


def answers(tally: Tally) -> None:
    tally.answer(CHECK, 0, ["p-1"])
    tally.answer(CHECK, 0, ["p-2"])
    tally.answer(RENEW, 0)


def judged(
    directory: Path,
    lines: list[dict[str, Any]],
    does: Callable[[Tally], None] = answers,
    killed: frozenset[int] = frozenset(),
    torn: str = "",
) -> list[str]:
    log = directory / "decisions.log"
    log.write_text("".join(f"{json.dumps(each)}\n" for each in lines) + torn)
    tally = Tally()
    does(tally)
    tally.read(log)
    return tally.verdict(killed)


def test_what_is_answered_and_logged_once_is_sound(tmp_path: Path) -> None:
    assert judged(tmp_path, LOG) == []


def test_a_call_that_was_cut_off_may_have_its_line_and_may_have_none(tmp_path: Path) -> None:
    def cut_off(tally: Tally) -> None:
        answers(tally)
        tally.cut_off("CheckClaim")

    assert judged(tmp_path, LOG, cut_off) == []
    assert judged(tmp_path, [*LOG, line(4)], cut_off) == []


def wrong_code(tally: Tally) -> None:
    answers(tally)
    tally.answer(Ask("GetRules", codes=(0, -1202)), -1000)


def not_answered(tally: Tally) -> None:
    answers(tally)
    tally.no_answer(Ask("GetRules"), time.monotonic(), "UNAVAILABLE")


BROKEN: dict[str, tuple[list[dict[str, Any]], Callable[[Tally], None], str]] = {
    "no line": ([*LOG[:2], line(2, "RenewClaim")], answers, "CheckClaim has 1 lines"),
    "no line of a change": (LOG[:3], answers, "RenewClaim has 0 lines for 1 to 1 calls"),
    "two lines": ([*LOG, line(4)], answers, "CheckClaim has 3 lines for 2 to 2 calls"),
    "another decision": (
        [*LOG[:2], line(2, decision_id="p-9"), LOG[3]],
        answers,
        "the decision p-2 was answered and left no line",
    ),
    "a gap": ([*LOG, line(5, "")], answers, "p has 5 in place of 4"),
    "a fault": ([*LOG, {"event": "fault", "process": "p"}], answers, "the log has fault"),
    "a wrong code": (LOG, wrong_code, "GetRules was answered with -1000 in place of (0, -1202)"),
    "no answer": (LOG, not_answered, "GetRules was not answered: UNAVAILABLE"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_told(name: str, tmp_path: Path) -> None:
    lines, does, told = BROKEN[name]

    problems = judged(tmp_path, lines, does)

    assert any(problem.startswith(told) for problem in problems), problems


def test_a_line_may_be_lost_with_its_process_and_with_no_other(tmp_path: Path) -> None:
    assert judged(tmp_path, LOG[:2], killed=frozenset({PID})) == []
    assert judged(tmp_path, LOG[:2], killed=frozenset({PID + 1})) == [
        "the decision p-2 was answered and left no line"
    ]


def test_a_torn_line_needs_a_process_that_was_killed(tmp_path: Path) -> None:
    assert judged(tmp_path, LOG, torn='{"event":"deci', killed=frozenset({PID})) == []
    assert judged(tmp_path, LOG, torn='{"event":"deci') == ["1 lines are torn, over 0 kills"]


def test_while_a_server_is_replaced_calls_need_not_be_answered(tmp_path: Path) -> None:
    def replaced(tally: Tally) -> None:
        answers(tally)
        with tally.outage():
            not_answered_since = time.monotonic()
        tally.no_answer(Ask("GetRules"), not_answered_since, "UNAVAILABLE")

    assert judged(tmp_path, LOG, replaced) == []
