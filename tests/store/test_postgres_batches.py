"""Requests that share their round trips: each caller gets its own answer, and gets it in time.

The tests run on an event loop whose time jumps to whatever is next, so nothing waits.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from liquidation.store.base import StoreUnavailableError
from liquidation.store.postgres.batches import Batches, ContendedError
from tests.store.stores import answer_to
from tests.unit.seeded import seeded

T = TypeVar("T")

PATIENCE = 20.0
MOST = 4


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing, and counts how long the loop would have waited."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits for something that never comes"
        self.skipped += max(timeout, 0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        # Sums of whole waits, but for what is lost when they are added up.
        return round(self._jumps.skipped, 6)


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


class OwnError(Exception):
    """What is raised to one caller alone."""


@dataclass(frozen=True)
class Call:
    """A question: when it comes, and whether its own answer is an error.

    `held` is how often it is in the way of all that it is asked together with, or alone.
    """

    number: int
    at: int
    fails: bool
    held: int


@dataclass
class Trip:
    """Which questions a trip took, alone or not, and from when to when."""

    numbers: list[int]
    alone: bool
    since: float
    until: float = 0.0


@dataclass
class Server:
    """Answers a question with its number, after times and with failures that are drawn."""

    takes: Iterable[int]
    breaks: Iterable[bool]
    trips: list[Trip] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._takes, self._breaks = iter(self.takes), iter(self.breaks)

    async def ask(self, calls: Sequence[Call], *, alone: bool) -> list[int | Exception]:
        loop = asyncio.get_running_loop()
        trip = Trip([call.number for call in calls], alone, loop.time())
        self.trips.append(trip)
        try:
            await asyncio.sleep(next(self._takes, 1))
            if next(self._breaks, False):
                raise StoreUnavailableError("broken")
            holding = [call for call in calls if self.held.get(call.number, 0) < call.held]
            for call in holding:
                self.held[call.number] = self.held.get(call.number, 0) + 1
            if holding:
                raise ContendedError("held")
            return [OwnError(call.number) if call.fails else call.number for call in calls]
        finally:
            trip.until = loop.time()


async def call_all(
    calls: Sequence[Call], server: Server, lanes: int
) -> dict[int, tuple[int | Exception, float]]:
    """What each caller was answered, and when."""
    batches: Batches[Call, int] = Batches(server.ask, MOST, lanes, PATIENCE)
    answers: dict[int, tuple[int | Exception, float]] = {}
    loop = asyncio.get_running_loop()

    async def one(call: Call) -> None:
        await asyncio.sleep(call.at)
        answer: int | Exception
        try:
            answer = await answer_to(lambda done: batches.submit(call, done))
        except (StoreUnavailableError, OwnError) as error:
            answer = error
        answers[call.number] = answer, loop.time()

    await asyncio.gather(*map(one, calls))
    await batches.drained()
    assert len(asyncio.all_tasks()) == 1, "something still runs"
    return answers


@st.composite
def many_calls(draw: st.DrawFn) -> list[Call]:
    return [
        Call(
            number,
            at=draw(st.integers(0, 30)),
            fails=draw(st.booleans()),
            held=draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
        )
        for number in range(draw(st.integers(1, 16)))
    ]


servers = st.builds(
    Server,
    takes=st.lists(st.sampled_from([0, 1, 2, 5, 9, 15, 19]), max_size=30),
    breaks=st.lists(st.sampled_from([False, False, False, True]), max_size=30),
)


@seeded(150)
@given(many_calls(), servers, st.integers(1, 3))
def test_each_caller_gets_its_own_answer_in_time_and_nothing_is_asked_too_often(
    calls: list[Call], server: Server, lanes: int
) -> None:
    answers = run(call_all(calls, server, lanes))

    shared = [trip for trip in server.trips if not trip.alone]
    assert all(len(trip.numbers) <= MOST for trip in server.trips)
    for call in calls:
        answer, at = answers[call.number]
        trips = [trip for trip in server.trips if call.number in trip.numbers]
        assert at <= call.at + PATIENCE
        if isinstance(answer, OwnError):
            assert (answer.args, call.fails) == ((call.number,), True)
        elif isinstance(answer, int):
            assert (answer, call.fails) == (call.number, False)
        elif str(answer) == "broken":
            assert trips[-1].until == at
        elif isinstance(answer, ContendedError):
            assert (trips[-1].numbers, trips[-1].alone) == ([call.number], True)
        else:
            assert at == call.at + PATIENCE, "nobody is told so before the time"
            assert not trips or trips[-1].until >= at, "its answer was there"
        # It is asked again, alone, only if it certainly did not happen.
        assert [trip.alone for trip in trips] in ([], [False], [False, True])
        # While it waited, every lane was busy.
        since = trips[0].since if trips else at
        assert not trips or since <= call.at + PATIENCE
        for moment in {call.at, *(each.until for each in shared)}:
            if call.at <= moment < since:
                under_way = sum(each.since <= moment < each.until for each in shared)
                assert under_way == lanes, f"at {moment} nobody asked question {call.number}"


class Echo:
    """Answers each number with itself, after `takes_s`; notes what it was asked together."""

    def __init__(self, takes_s: float = 0) -> None:
        self.trips: list[list[int]] = []
        self._takes_s = takes_s

    async def __call__(self, numbers: Sequence[int], /, *, alone: bool) -> list[int | Exception]:
        assert not alone
        self.trips.append(list(numbers))
        await asyncio.sleep(self._takes_s)
        return list(numbers)


async def asked(batches: Batches[int, int], *numbers: int) -> list[Any]:
    """What is answered to questions that are asked at once."""
    answers = [answer_to(lambda done, n=each: batches.submit(n, done)) for each in numbers]  # type: ignore[misc]
    told = await asyncio.gather(*answers, return_exceptions=True)
    await batches.drained()
    return [str(each) if isinstance(each, Exception) else each for each in told]


def test_a_batch_takes_questions_until_it_is_heavy_enough() -> None:
    ask = Echo()

    async def main() -> list[Any]:
        return await asked(Batches(ask, 10, 1, PATIENCE, weight=int), *sent)

    sent = [1, 3, 3, 3, 3, 50, 9, 9, 1]
    assert run(main()) == sent
    assert ask.trips == [[1, 3, 3, 3], [3, 50], [9, 9], [1]]


def test_an_answer_is_not_late_for_those_behind_one_that_gave_up() -> None:
    async def main() -> list[Any]:
        batches: Batches[int, int] = Batches(Echo(takes_s=0.8), MOST, 1, 1)
        first = asyncio.create_task(asked(batches, 0))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(asked(batches, 1))
        await asyncio.sleep(0.6)
        third = asyncio.create_task(asked(batches, 2))
        return [each for (each,) in await asyncio.gather(first, second, third)]

    assert run(main()) == [0, "no answer within 1 s", 2]


def test_a_callback_that_raises_takes_nobody_s_answer() -> None:
    faults: list[Exception] = []

    def raising(number: object) -> None:
        raise OwnError(number)

    async def main() -> list[Any]:
        batches: Batches[int, int] = Batches(Echo(), MOST, 1, PATIENCE, on_fault=faults.append)
        batches.submit(1, raising)
        return await asked(batches, 2)

    assert run(main()) == [2]
    assert [str(each) for each in faults] == ["1"]


def test_a_fault_of_a_lane_costs_no_lane() -> None:
    caught: list[str] = []

    def weigh(weight: int) -> int:
        if weight < 0:
            raise OwnError(weight)
        return weight

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: caught.append(str(context["exception"])))
        batches: Batches[int, int] = Batches(Echo(), 10, 1, 1, weigh)
        dropped = asyncio.create_task(asked(batches, -1))
        await asyncio.sleep(0.1)
        return [*await asked(batches, 1), *await dropped]

    assert run(main()) == [1, "no answer within 1 s"]
    assert caught == ["-1"], "it is told to whoever reads the log"
