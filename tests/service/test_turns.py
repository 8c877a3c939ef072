"""Calls are answered together where the thread has no rest, and a lone call waits for nobody."""

import asyncio
from collections.abc import Sequence

import pytest

from liquidation.api.desk import TURN
from liquidation.api.rpc import Unfinished
from liquidation.api.turns import Turns, TurnSize

# More turns than pass between two tries.
MANY = 600


class Thread:
    """A thread's clocks: each reading of the time is a millisecond on."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._now = 0

    def monotonic_ns(self) -> int:
        self._now += 1_000_000
        return self._now

    def thread_ns(self) -> int:
        return int(self._now * self.share)


def size_of(thread: Thread) -> TurnSize:
    return TurnSize(thread.monotonic_ns, thread.thread_ns)


def test_a_thread_that_rests_waits_for_nobody() -> None:
    size = size_of(Thread(share=0.6))

    for _ in range(MANY):
        size.reached()

    assert size.size == 1


def test_without_rest_ever_more_are_waited_for_while_they_come() -> None:
    size = size_of(Thread(share=1))
    seen: list[int] = []
    for _ in range(MANY):
        size.reached()
        if not seen or seen[-1] != size.size:
            seen.append(size.size)

    assert seen == [1, 2, 4, 8, 16, TURN]


def test_where_no_more_come_it_is_tried_ever_more_seldom() -> None:
    size = size_of(Thread(share=1))
    turns_between: list[int] = []
    since = 0
    while len(turns_between) < 7:
        since += 1
        size.reached()
        if size.size == 2:
            size.missed(1)
            turns_between.append(since)
            since = 0

    assert size.size == 1
    assert turns_between == [32, 64, 128, 256, 512, 512, 512]


def test_fewer_calls_are_waited_for_once_fewer_come() -> None:
    size = size_of(Thread(share=1))
    while size.size < 16:
        size.reached()

    size.missed(5)

    assert size.size == 5


def test_a_thread_that_has_rest_again_lets_nobody_wait() -> None:
    thread = Thread(share=1)
    size = size_of(thread)
    while size.size < 8:
        size.reached()

    # The clocks go on from what they showed.
    thread.share = 0.1
    for _ in range(MANY):
        size.reached()

    assert size.size == 1


class Answering:
    """Answers calls by what they asked, and knows which came together."""

    def __init__(self, size: int) -> None:
        thread = Thread(share=0.6)
        self.size = size_of(thread)
        self.size.size = size
        self.together: list[list[str]] = []
        self.gone: list[str] = []
        self.fault: Exception | None = None
        self.unfinished = Unfinished()
        self.turns: Turns[str, str] = Turns(self._answer, self.size, self.unfinished.begin)

    async def _answer(self, calls: Sequence[str], gone: Sequence[bool]) -> list[str]:
        self.together.append(list(calls))
        self.gone += [call for call, is_gone in zip(calls, gone, strict=True) if is_gone]
        if self.fault is not None:
            raise self.fault
        return [call.upper() for call in calls]


async def test_a_lone_call_is_answered_without_a_turn_of_the_loop() -> None:
    answering = Answering(size=1)
    call = answering.turns.answer("a")

    with pytest.raises(StopIteration) as answered:
        call.send(None)

    assert answered.value.value == "A"


async def test_as_many_as_are_waited_for_are_answered_together_each_with_its_own() -> None:
    answering = Answering(size=3)

    answers = await asyncio.gather(*map(answering.turns.answer, "abcdef"))

    assert answers == list("ABCDEF")
    assert answering.together == [list("abc"), list("def")]


async def test_too_few_are_answered_when_patience_ends() -> None:
    answering = Answering(size=3)

    answers = await asyncio.gather(*map(answering.turns.answer, "ab"))

    assert answers == list("AB")
    assert answering.together == [list("ab")]
    assert answering.size.size == 2


async def test_a_caller_who_goes_away_meanwhile_is_told_and_takes_nobody_along() -> None:
    answering = Answering(size=3)
    calls = [asyncio.create_task(answering.turns.answer(name)) for name in "ab"]
    await asyncio.sleep(0)

    calls[0].cancel()
    await asyncio.sleep(0)
    answers = await asyncio.gather(calls[1], answering.turns.answer("c"))

    assert list(answers) == ["B", "C"]
    assert calls[0].cancelled()
    assert answering.together == [list("abc")]
    assert answering.gone == ["a"]


async def test_a_fault_reaches_every_call_of_its_turn_and_no_other() -> None:
    answering = Answering(size=2)
    answering.fault = ValueError("ours")

    faulted = await asyncio.gather(*map(answering.turns.answer, "ab"), return_exceptions=True)
    answering.fault = None

    assert [type(each) for each in faulted] == [ValueError, ValueError]
    assert await asyncio.gather(*map(answering.turns.answer, "cd")) == list("CD")
