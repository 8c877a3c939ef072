"""What became of one stage at one server: an outcome for each call, and the lines of no call."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from tests.attacks.differential.calls import Json, Stage
from tests.attacks.differential.canonical import Canonical
from tests.attacks.differential.sending import Answer, trace_id

# Lines that are numbered; all others tell about the process.
_NUMBERED: Final = frozenset({"decision", "claim", "liquidation"})
# What is another one on each side and says nothing of what was asked.
_OF_A_RUN: Final = {"addresses": ["some"], "pid": 1, "store": "some", "timestamp": "now"}


def outcome_of(stage: Stage, answers: Sequence[Sequence[Answer]], log: Sequence[Json]) -> Json:
    """The canonical outcome of a stage, as JSON.

    `calls` has the outcome of each call by lane, its log lines included. Beside them stand the
    lines of expired leases, those without a trace id, and those about the process.
    """
    by_trace: dict[str, list[Json]] = defaultdict(list)
    expired, others = [], []
    for line in log:
        if line["event"] not in _NUMBERED:
            others.append(line)
        elif line.get("change") == "expire":
            expired.append(line)
        else:
            by_trace[line["trace_id"]].append(line)
    canonical = Canonical()
    told: list[list[Json]] = []
    for number, (lane, lane_answers) in enumerate(zip(stage.lanes, answers, strict=True)):
        told.append([])
        for place, (call, answer) in enumerate(zip(lane.calls, lane_answers, strict=True)):
            outcome = canonical.answer(call.path, answer)
            if lines := by_trace.pop(trace_id(number, place), None):
                outcome["log"] = [canonical.clean(line) for line in lines]
            told[-1].append(outcome)
    return {
        "calls": told,
        "expired": _in_any_order(canonical, expired),
        "untraced": [canonical.clean(line) for line in by_trace.pop("", [])],
        "of no call": [canonical.clean(line) for lines in by_trace.values() for line in lines],
        "process": [canonical.clean(line | _known(line)) for line in others],
        "gaps": _gaps(log),
    }


def _known(line: Json) -> Json:
    return {key: value for key, value in _OF_A_RUN.items() if key in line}


def _in_any_order(canonical: Canonical, lines: Sequence[Json]) -> list[Any]:
    """The background writes these when it comes by: their order and ids say nothing."""
    cleaned = [canonical.clean({**line, "decision_id": ""}) for line in lines]
    return sorted(cleaned, key=lambda line: json.dumps(line, sort_keys=True))


def _gaps(log: Sequence[Json]) -> list[int]:
    """The numbers of lines that do not follow the one before."""
    numbers = [line["seq"] for line in log if line["event"] in _NUMBERED]
    return [number for place, number in enumerate(numbers) if number != place + 1]
