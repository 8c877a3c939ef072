"""How often each liquidator may ask: never more than the limit in any second, and never less."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.api.admission import Rate

MILLISECOND = 0.001


class Seconds:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def rate(clock: Seconds) -> Rate:
    return Rate(clock)


def passed(rate: Rate, name: str, per_second: int) -> bool:
    return rate.wait(name, per_second) is None


def test_as_many_pass_at_once_as_a_second_allows(rate: Rate) -> None:
    assert [passed(rate, "l", 3) for _ in range(5)] == [True, True, True, False, False]


def test_the_next_passes_when_the_oldest_is_a_second_ago(rate: Rate, clock: Seconds) -> None:
    for _ in range(2):
        assert passed(rate, "l", 2)
        clock.now += 0.25

    assert rate.wait("l", 2) == Decimal("0.501")
    clock.now += 0.4995
    assert rate.wait("l", 2) == Decimal("0.001")
    clock.now += 0.001
    assert passed(rate, "l", 2)
    assert rate.wait("l", 2) == Decimal("0.250")


def test_what_is_refused_does_not_count(rate: Rate, clock: Seconds) -> None:
    assert passed(rate, "l", 1)
    for _ in range(9):
        clock.now += 0.1
        assert not passed(rate, "l", 1)
    clock.now += 0.2

    assert passed(rate, "l", 1)


def test_names_do_not_share_a_window(rate: Rate) -> None:
    assert all(passed(rate, name, 1) for name in ("a", "b", "a/1", "a/1/1/second", "ä"))
    assert not passed(rate, "a", 1)


def test_another_limit_is_held_at_once(rate: Rate) -> None:
    assert [passed(rate, "l", 1) for _ in range(2)] == [True, False]
    assert [passed(rate, "l", 3) for _ in range(4)] == [True, True, True, False]


@given(
    per_second=st.integers(1, 5),
    pauses=st.lists(st.sampled_from([0, 0, 0.001, 0.1, 0.2, 0.3, 0.999, 1, 1.001, 3]), max_size=60),
)
def test_no_second_sees_more_than_the_limit_and_no_request_is_refused_below_it(
    per_second: int, pauses: list[float]
) -> None:
    clock = Seconds()
    rate = Rate(clock)
    times: list[float] = []
    for pause in pauses:
        clock.now += pause
        within = [time for time in times if time > clock.now - 1]
        wait = rate.wait("l", per_second)

        assert (wait is None) == (len(within) < per_second)
        if wait is None:
            times.append(clock.now)
        else:
            # Not one millisecond more than it takes.
            due = within[-per_second] + 1 - clock.now
            assert due < wait <= due + 1.001 * MILLISECOND


@given(per_second=st.integers(1, 3), hits=st.lists(st.floats(0, 0.5), max_size=20))
def test_a_request_after_the_wait_passes(per_second: int, hits: list[float]) -> None:
    clock = Seconds()
    rate = Rate(clock)
    for pause in hits:
        clock.now += pause
        wait = rate.wait("l", per_second)
        if wait is not None:
            assert wait >= Decimal("0.001")
            clock.now += float(wait)
            assert passed(rate, "l", per_second)


def test_names_of_the_last_second_alone_are_held(rate: Rate, clock: Seconds) -> None:
    most = 0
    for number in range(200_000):
        clock.now += 0.001
        assert passed(rate, f"liquidator-{number}", 5)
        most = max(most, len(rate))

    assert most <= 1001


def test_names_that_came_at_once_are_dropped_by_later_requests(rate: Rate, clock: Seconds) -> None:
    for number in range(10_000):
        rate.wait(f"liquidator-{number}", 5)
    assert len(rate) == 10_000
    clock.now += 1

    for _ in range(5_001):
        rate.wait("l", 1)

    assert len(rate) == 1
    assert not passed(rate, "l", 1)


def test_a_name_that_asks_on_is_not_dropped_with_those_that_do_not(
    rate: Rate, clock: Seconds
) -> None:
    for name in ("busy", "idle"):
        rate.wait(name, 2)
    clock.now += 0.6
    assert passed(rate, "busy", 2)
    clock.now += 0.6
    for number in range(10):
        rate.wait(f"other-{number}", 2)

    assert passed(rate, "busy", 2)
    assert not passed(rate, "busy", 2)


def test_a_name_that_asks_on_does_not_keep_the_others(rate: Rate, clock: Seconds) -> None:
    for number in range(10_000):
        clock.now += 0.01
        assert passed(rate, "busy", 200)
        assert passed(rate, f"liquidator-{number}", 200)

    assert len(rate) <= 102
