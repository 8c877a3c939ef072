"""What counts as a difference, and that any changed part of an outcome is one."""

from copy import deepcopy
from pathlib import Path
from random import Random

import pytest

from tests.attacks.differential.canonical import Canonical
from tests.attacks.differential.comparing import Difference, Intended, differences, mutated
from tests.attacks.differential.drawing.stages import drawn_stages
from tests.attacks.differential.recording import read
from tests.attacks.differential.run import Report, compared

RECORDING = Path(__file__).parent / "recorded.jsonl.xz"


def test_one_changed_text_or_number_anywhere_is_found() -> None:
    stage, recorded = min(read(RECORDING), key=lambda each: each[0].requests)
    random = Random(7)
    for _ in range(20):
        other = deepcopy(recorded)
        mutated(other, random)
        report = Report()

        compared(stage, recorded, other, report)

        assert len(report.found) == 1
        assert len(report.found[0].differences) == 1


def test_intended_difference_is_not_told() -> None:
    intended = [Intended(r"\.log\[\d+\]\.peer", "the new transport names its peers otherwise")]

    assert differences({"log": [{"peer": "a"}]}, {"log": [{"peer": "b"}]}, intended) == []
    assert differences({"message": "a"}, {"message": "b"}, intended) == [
        Difference(".message", "a", "b")
    ]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"about": 0.5}, {"about": 1.25}, True),
        ({"about": 0.5}, {"about": 250.5}, False),
        ({"about": 1.0}, {"about": 2.0}, False),
        ({"about": 0.5}, 300, False),
        (0, "", False),
        (1, True, False),
        ([], None, False),
    ],
)
def test_only_times_of_the_run_may_differ_a_little(
    before: object, after: object, same: bool
) -> None:
    assert (differences({"x": before}, {"x": after}) == []) is same


def test_ids_that_correspond_one_to_one_become_equal() -> None:
    one, other = Canonical(), Canonical()

    first = [one.clean({"decision_id": each}) for each in ("a-1", "a-2", "a-1")]

    assert first == [other.clean({"decision_id": each}) for each in ("b-7", "b-3", "b-7")]
    assert first != [Canonical().clean({"decision_id": each}) for each in ("b-7", "b-3", "b-3")]


def test_a_seed_always_draws_the_same_calls() -> None:
    drawn, again, other = (next(drawn_stages(seed, 100)) for seed in (5, 5, 6))

    assert drawn == again
    assert drawn != other
