"""Growth is found in figures that grow, and in no others."""

import random

import pytest

from tests.attacks.soak.figures import Bound, Point, at_equal_age, broken, growth_per_hour, table

STEP_S = 5
RUN_S = 600


def run_of(
    per_hour: float, of: str = "1", begins: float = 0, base: float = 40, noise: float = 0.3
) -> list[Point]:
    """What one process had, noise and a few outliers included."""
    chance = random.Random(f"{of}-{per_hour}")
    return [
        Point(
            begins + age,
            base + per_hour * age / 3600 + chance.gauss(0, noise) + 50 * (chance.random() < 0.05),
            of,
            age,
        )
        for age in range(0, RUN_S, STEP_S)
    ]


@pytest.mark.parametrize("per_hour", [-30, 0, 30, 300])
def test_growth_is_seen_through_noise_and_outliers(per_hour: float) -> None:
    assert growth_per_hour(run_of(per_hour)) == pytest.approx(per_hour, abs=2)


def test_a_process_that_begins_anew_does_not_hide_that_each_grows() -> None:
    sawtooth = run_of(30, "1") + run_of(30, "2", begins=RUN_S) + run_of(30, "3", begins=2 * RUN_S)

    assert growth_per_hour(sawtooth) == pytest.approx(30, abs=2)


def test_what_a_process_takes_while_it_warms_up_is_no_growth() -> None:
    warming = [point._replace(value=point.value + min(point.age, 60)) for point in run_of(0)]

    assert growth_per_hour(warming, warm_up_s=60) == pytest.approx(0, abs=2)


def test_of_a_span_that_is_too_short_nothing_is_told() -> None:
    assert growth_per_hour(run_of(3000)[:10]) is None
    assert growth_per_hour([]) is None


def test_what_grows_from_run_to_run_is_seen_at_equal_age() -> None:
    steps = [
        point
        for number in range(4)
        for point in run_of(0, str(number), begins=number * RUN_S, base=40 + 5 * number)
    ]

    assert growth_per_hour(steps) == pytest.approx(0, abs=2)
    compared = at_equal_age(steps, 60, 120)
    assert len(compared) == 4
    assert growth_per_hour(compared) == pytest.approx(30, abs=3)


PLANTED = {
    "memory that grows": ("memory", run_of(20), "memory grows by"),
    "one descriptor that leaks in ten seconds": (
        "descriptors",
        [Point(at, 28 + at // 10, "1", at) for at in range(0, RUN_S, STEP_S)],
        "descriptors grows by 360",
    ),
    "one moment that is too much": (
        "age",
        [*(Point(at, 60) for at in range(0, RUN_S, STEP_S)), Point(RUN_S, 81)],
        "age was 81, and may be 80 at most",
    ),
    "nothing to look at": ("none", [], "rows was never taken"),
}
BOUNDS = {
    "memory": Bound(per_hour=8),
    "descriptors": Bound(per_hour=0.5),
    "age": Bound(most=80),
    "rows": Bound(most=1),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_broken_bound_is_told(planted: str) -> None:
    name, points, told = PLANTED[planted]
    sound = [Point(at, 0.5) for at in range(0, RUN_S, STEP_S)]
    figures = dict.fromkeys(BOUNDS, sound) | {name: points}
    if not points:
        del figures["rows"]

    (problem,) = broken(figures, BOUNDS)

    assert problem.startswith(told)


def test_bounds_that_are_kept_are_not_told() -> None:
    figures = {
        "memory": run_of(0),
        "descriptors": [Point(at, 28 + at % 3, "1", at) for at in range(0, RUN_S, STEP_S)],
        "age": [Point(at, at % 80) for at in range(0, RUN_S, STEP_S)],
        "rows": [Point(0, 1)],
    }

    assert list(broken(figures, BOUNDS)) == []


def test_the_table_shows_each_figure_along_the_run_and_what_it_may_do() -> None:
    points = [Point(at, at / 10) for at in range(0, RUN_S + 1, STEP_S)]

    header, row = table({"rows": points}, {"rows": Bound(per_hour=400, most=90)}).splitlines()

    told = ["start", "quarter", "half", "end", "most", "growth/h", "allowed/h", "at", "most"]
    assert header.split() == ["figure", *told]
    assert row.split() == ["rows", "0.8", "15.0", "30.0", "59.2", "60.0", "360.0", "400.0", "90.0"]
