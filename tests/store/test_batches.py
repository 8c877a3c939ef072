"""Requests that share their trips: each caller gets its own answer, and gets it in time.

The properties run on an event loop whose time jumps to whatever is next, so nothing waits.
"""

import asyncio
import gc
import selectors
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.store.base import StoreUnavailableError
from liquidation.store.batches import Batches, ContendedError
from tests.core.seeded import seeded

T = TypeVar("T")

PATIENCE = 20.0
MOST = 4


class OwnError(Exception):
    """What is raised to one caller alone."""


@dataclass(frozen=True)
class Call:
    """A question of one caller: when it comes, and what is to be said to it.

    `held` is how often it is in the way of everything that it is asked together with, or alone.
    """

    number: int
    at: int
    fails: bool
    held: int
    cancelled_after: int | None


@dataclass
class Asked:
    """A trip: which questions it took, alone or not, and from when to when."""

    numbers: list[int]
    alone: bool
    since: float
    until: float = 0.0


@dataclass
class Server:
    """Answers a question with its number, after times and with failures that are drawn."""

    takes: Iterable[int]
    breaks: Iterable[bool]
    trips: list[Asked] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._takes, self._breaks = iter(self.takes), iter(self.breaks)

    async def ask(self, calls: Sequence[Call], *, alone: bool) -> list[int | Exception]:
        loop = asyncio.get_running_loop()
        trip = Asked([call.number for call in calls], alone, loop.time())
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


@dataclass(frozen=True)
class Told:
    """What a caller was told, and when."""

    answer: int | Exception
    at: float


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing: it tells the loop how long it would have waited."""

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
        # Sums of waits that are whole, but for what is lost when they are added up.
        return round(self._jumps.skipped, 6)


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


async def call_all(calls: Sequence[Call], server: Server, lanes: int) -> dict[int, Told]:
    """What each caller was told, but for those that went away."""
    batches: Batches[Call, int] = Batches(server.ask, MOST, lanes, PATIENCE)
    told: dict[int, Told] = {}
    loop = asyncio.get_running_loop()

    async def one(call: Call) -> None:
        await asyncio.sleep(call.at)
        try:
            answer: int | Exception = await batches.submit(call)
        except (StoreUnavailableError, OwnError) as error:
            answer = error
        told[call.number] = Told(answer, loop.time())

    async with asyncio.TaskGroup() as group:
        for call in calls:
            task = group.create_task(one(call))
            if call.cancelled_after is not None:
                loop.call_at(call.at + call.cancelled_after, task.cancel)
    await batches.drained()
    assert len(asyncio.all_tasks()) == 1, "something still runs"
    return told


@st.composite
def many_calls(draw: st.DrawFn) -> list[Call]:
    count = draw(st.integers(1, 16))
    return [
        Call(
            number,
            at=draw(st.integers(0, 30)),
            fails=draw(st.booleans()),
            held=draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
            cancelled_after=draw(st.sampled_from([None, None, None, 0, 3, 15])),
        )
        for number in range(count)
    ]


servers = st.builds(
    Server,
    takes=st.lists(st.sampled_from([0, 1, 2, 5, 9, 15, 19]), max_size=30),
    breaks=st.lists(st.sampled_from([False, False, False, True]), max_size=30),
)


@seeded(150)
@given(many_calls(), servers, st.integers(1, 3))
def test_each_caller_gets_its_own_answer_or_is_told_in_time_that_there_is_none(
    calls: list[Call], server: Server, lanes: int
) -> None:
    told = run(call_all(calls, server, lanes))

    for call in calls:
        if call.cancelled_after is not None and call.number not in told:
            continue
        answer, at = told[call.number].answer, told[call.number].at
        assert at <= call.at + PATIENCE
        trips = [trip for trip in server.trips if call.number in trip.numbers]
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


@seeded(150)
@given(many_calls(), servers, st.integers(1, 3))
def test_a_question_is_asked_as_soon_as_a_lane_is_free_and_never_after_its_time(
    calls: list[Call], server: Server, lanes: int
) -> None:
    told = run(call_all(calls, server, lanes))

    shared = [trip for trip in server.trips if not trip.alone]
    for trip in server.trips:
        assert len(trip.numbers) <= MOST
    for call in calls:
        trips = [trip for trip in shared if call.number in trip.numbers]
        assert len(trips) <= 1, "it was asked twice"
        if not trips and call.number not in told:
            assert call.cancelled_after == 0, "whoever goes away takes nothing back"
            continue
        since = trips[0].since if trips else told[call.number].at
        if trips and call.number in told:
            assert since <= call.at + PATIENCE
        # While it waited, every lane was busy.
        for moment in {call.at, *(each.until for each in shared)}:
            if call.at <= moment < since:
                busy = sum(each.since <= moment < each.until for each in shared)
                assert busy == lanes, f"at {moment} nobody asked question {call.number}"


@seeded(100)
@given(many_calls(), servers)
def test_a_question_is_asked_again_only_where_it_certainly_did_not_happen(
    calls: list[Call], server: Server
) -> None:
    run(call_all(calls, server, lanes=2))

    for call in calls:
        trips = [trip for trip in server.trips if call.number in trip.numbers]
        assert [trip.alone for trip in trips] in ([], [False], [False, True])


async def test_a_question_that_comes_in_the_moment_in_which_a_lane_ends_is_asked() -> None:
    gate = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        asked.set()
        await gate
        return list(numbers)

    batches: Batches[int, int] = Batches(ask, MOST, 1, PATIENCE)
    first = asyncio.create_task(batches.submit(1))
    await asked.wait()

    async def another() -> int:
        await gate  # goes on right behind the lane, which has seen that nobody waits
        return await batches.submit(2)

    second = asyncio.create_task(another())
    await asyncio.sleep(0)
    gate.set_result(None)
    async with asyncio.timeout(10):
        assert [await first, await second] == [1, 2]


async def test_one_that_is_held_up_holds_up_nobody_else() -> None:
    free = asyncio.Event()

    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        if 0 in numbers:
            if not alone:
                raise ContendedError("held")
            await free.wait()
        return list(numbers)

    batches: Batches[int, int] = Batches(ask, 50, 1, PATIENCE)
    held = asyncio.create_task(batches.submit(0))
    others = await asyncio.gather(*(batches.submit(number) for number in range(1, 50)))
    later = await batches.submit(50)

    assert (others, later) == (list(range(1, 50)), 50)
    assert not held.done()
    free.set()
    assert await held == 0
    await batches.drained()


async def test_a_batch_takes_in_questions_until_it_is_heavy_enough() -> None:
    trips: list[list[int]] = []

    async def ask(weights: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        trips.append(list(weights))
        await asyncio.sleep(0)
        return list(weights)

    batches: Batches[int, int] = Batches(ask, 10, 1, PATIENCE, weight=lambda weight: weight)
    sent = [1, 3, 3, 3, 3, 50, 9, 9, 1]
    assert await asyncio.gather(*map(batches.submit, sent)) == sent

    assert trips == [[1, 3, 3, 3], [3, 50], [9, 9], [1]]


async def test_an_error_that_nobody_waits_for_is_no_noise() -> None:
    asked = asyncio.Event()
    gate = asyncio.Event()

    async def ask(_: Sequence[int], *, alone: bool) -> list[int]:
        asked.set()
        await gate.wait()
        raise OwnError(alone)

    batches: Batches[int, int] = Batches(ask, MOST, 1, PATIENCE)
    caller = asyncio.create_task(batches.submit(1))
    await asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await batches.drained()


async def test_a_fault_of_a_lane_costs_no_lane() -> None:
    async def ask(weights: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        return list(weights)

    def weigh(weight: int) -> int:
        if weight < 0:
            raise OwnError(weight)
        return weight

    batches: Batches[int, int] = Batches(ask, 10, 1, PATIENCE, weigh)
    caught: list[BaseException | None] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(context.get("exception")))

    dropped = asyncio.create_task(batches.submit(-1))
    await asyncio.sleep(0)
    await batches.drained()
    answer = await batches.submit(1)
    dropped.cancel()
    await asyncio.wait([dropped])
    gc.collect()

    assert answer == 1
    assert [str(each) for each in caught] == ["-1"], "it is told to whoever reads the log"
