"""Requests that share their trips: each caller gets its own answer, and gets it in time.

The properties run on an event loop whose time jumps to whatever is next, so nothing waits.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from liquidation.store.base import StoreUnavailableError
from liquidation.store.postgres.batches import Batches, ContendedError
from tests.store.awaited import answered
from tests.store.jumping import run
from tests.unit.seeded import seeded

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


async def call_all(calls: Sequence[Call], server: Server, lanes: int) -> dict[int, Told]:
    """What each caller was told, but for those that went away."""
    batches: Batches[Call, int] = Batches(server.ask, MOST, lanes, PATIENCE)
    told: dict[int, Told] = {}
    loop = asyncio.get_running_loop()

    async def one(call: Call) -> None:
        await asyncio.sleep(call.at)
        try:
            answer: int | Exception = await answered(batches, call)
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
