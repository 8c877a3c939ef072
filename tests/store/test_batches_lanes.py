"""Lanes in which requests share their trips: none is lost, none is held up, none is too many."""

import asyncio
import gc
from collections.abc import Sequence

import pytest

from liquidation.store.base import StoreUnavailableError
from liquidation.store.postgres.batches import Batches, ContendedError
from tests.store.awaited import answered
from tests.store.jumping import run

MOST = 4
PATIENCE = 20.0


class OwnError(Exception):
    """What is raised to one caller alone."""


async def test_a_question_that_comes_in_the_moment_in_which_a_lane_ends_is_asked() -> None:
    gate = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        asked.set()
        await gate
        return list(numbers)

    batches: Batches[int, int] = Batches(ask, MOST, 1, PATIENCE)
    first = asyncio.create_task(answered(batches, 1))
    await asked.wait()

    async def another() -> int:
        await gate  # goes on right behind the lane, which has seen that nobody waits
        return await answered(batches, 2)

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
    held = asyncio.create_task(answered(batches, 0))
    others = await asyncio.gather(*(answered(batches, number) for number in range(1, 50)))
    later = await answered(batches, 50)

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
    assert await asyncio.gather(*(answered(batches, each) for each in sent)) == sent

    assert trips == [[1, 3, 3, 3], [3, 50], [9, 9], [1]]


async def test_an_error_that_nobody_waits_for_is_no_noise() -> None:
    asked = asyncio.Event()
    gate = asyncio.Event()

    async def ask(_: Sequence[int], *, alone: bool) -> list[int]:
        asked.set()
        await gate.wait()
        raise OwnError(alone)

    batches: Batches[int, int] = Batches(ask, MOST, 1, PATIENCE)
    caller = asyncio.create_task(answered(batches, 1))
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

    dropped = asyncio.create_task(answered(batches, -1))
    for _ in range(3):  # it is asked, and its lane ends
        await asyncio.sleep(0)
    answer = await answered(batches, 1)
    await batches.drained()
    gc.collect()

    assert answer == 1
    with pytest.raises(StoreUnavailableError):
        await dropped
    assert [str(each) for each in caught] == ["-1"], "it is told to whoever reads the log"


async def test_a_question_that_is_not_answered_in_time_is_told_as_that() -> None:
    async def ask(_: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        await asyncio.Event().wait()
        return []

    batches: Batches[int, int] = Batches(ask, MOST, 1, 0.05)
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailableError) as raised:
            await answered(batches, 1)

    assert str(raised.value) == "no answer within 0.05 s"


async def test_no_more_lanes_are_under_way_than_there_are_also_after_some_have_ended() -> None:
    gate = asyncio.Event()
    under_way: list[int] = []

    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        under_way.extend(numbers)
        await gate.wait()
        return list(numbers)

    batches: Batches[int, int] = Batches(ask, 1, 2, PATIENCE)
    for _ in range(2):
        gate.clear()
        under_way.clear()
        callers = []
        for number in range(4):
            callers.append(asyncio.create_task(answered(batches, number)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        assert under_way == [0, 1]
        gate.set()
        assert await asyncio.gather(*callers) == [0, 1, 2, 3]
        await batches.drained()


def test_who_went_away_takes_no_answer_from_those_behind() -> None:
    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        await asyncio.sleep(0.8)
        return list(numbers)

    async def two_of_one_batch() -> list[object]:
        batches: Batches[int, int] = Batches(ask, MOST, 1, 1)
        first = asyncio.create_task(answered(batches, 0))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(answered(batches, 1))
        await asyncio.sleep(0.6)
        third = asyncio.create_task(answered(batches, 2))
        return list(await asyncio.gather(first, second, third, return_exceptions=True))

    one, gone, other = run(two_of_one_batch())

    assert (one, other) == (0, 2)
    assert isinstance(gone, StoreUnavailableError)


async def test_questions_weigh_one_each_where_nothing_else_is_said() -> None:
    trips: list[list[int]] = []

    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        trips.append(list(numbers))
        return list(numbers)

    batches: Batches[int, int] = Batches(ask, 3, 1, PATIENCE)
    await asyncio.gather(*(answered(batches, each) for each in range(4)))

    assert trips == [[0, 1, 2], [3]]


async def test_a_callback_that_raises_takes_nobody_s_answer() -> None:
    async def ask(numbers: Sequence[int], *, alone: bool) -> list[int]:
        assert not alone
        return list(numbers)

    def raising(number: object) -> None:
        raise OwnError(number)

    faults: list[Exception] = []
    batches: Batches[int, int] = Batches(ask, MOST, 1, PATIENCE, on_fault=faults.append)
    batches.submit(1, raising)

    assert await answered(batches, 2) == 2
    await batches.drained()
    assert [str(each) for each in faults] == ["1"]
