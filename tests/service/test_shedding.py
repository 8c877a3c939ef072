"""What waits for its caller is ended where memory is short, and nothing else is."""

import asyncio
from pathlib import Path

import grpc
import pytest

from liquidation.api.shedding import Shedding
from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.hostile.calls import ITEM, LARGE_ANSWER, STREAM
from tests.sidecars import Refused, running

MIB = 1 << 20


class Held:
    """A process that holds as much as a test says."""

    def __init__(self, most: int = 100) -> None:
        self.bytes = 0
        self.ended: list[str] = []
        self.shedding = Shedding(most, lambda: self.bytes)

    async def waits(self, name: str) -> asyncio.Task[None]:
        """A call that waits for its caller until it is ended."""
        ended = asyncio.Event()
        begun = asyncio.Event()

        async def wait() -> None:
            # What is never ended fails the test, and does not hang it.
            async with asyncio.timeout(60):
                with self.shedding.waiting(name, ended.set):
                    begun.set()
                    await ended.wait()
            self.ended.append(name)

        task = asyncio.create_task(wait())
        await begun.wait()
        return task


async def test_what_waits_at_two_looks_is_ended_while_too_much_is_held() -> None:
    held = Held()
    first = await held.waits("first")
    held.bytes = 101

    assert await held.shedding.look() == (0, 101)
    second = await held.waits("second")
    assert await held.shedding.look() == (1, 101)
    await first
    assert held.ended == ["first"]
    assert await held.shedding.look() == (1, 101)
    await second
    assert await held.shedding.look() == (0, 101)


async def test_what_waited_before_memory_was_short_has_until_the_second_look() -> None:
    held = Held()
    waiting = await held.waits("call")
    for held.bytes in (101, 100, 101):
        assert await held.shedding.look() == (0, held.bytes)
    assert await held.shedding.look() == (1, 101)
    await waiting


async def test_without_a_bound_nothing_is_ended_and_every_answer_is_handed_over() -> None:
    held = Held(most=0)
    waiting = await held.waits("call")
    held.bytes = 2**40
    for _ in range(3):
        assert (await held.shedding.look())[0] == 0
    assert held.shedding.takes(bytes(10 * MIB))
    waiting.cancel()


async def test_large_answers_count_until_they_are_taken_and_small_ones_never() -> None:
    shedding = Shedding(4 * MIB, lambda: 0)
    taken = asyncio.Event()
    answer, small = bytes(MIB), bytes(1000)

    async def call() -> None:
        assert shedding.takes(answer)
        await taken.wait()

    held = asyncio.create_task(call())
    await asyncio.sleep(0)

    assert not shedding.takes(answer)
    assert shedding.takes(small)
    taken.set()
    await held
    await asyncio.sleep(0)
    assert shedding.takes(answer)


async def test_a_stream_that_says_nothing_is_ended_and_told(tmp_path: Path) -> None:
    # This process holds more than a MiB, so memory is always short.
    async with asyncio.timeout(120), running(tmp_path, max_memory=1) as server:
        stream = server.channel.stream_stream(STREAM)()
        await stream.write(ITEM[5:])
        answer = rules_service_pb2.StreamCheckClaimsResponse.FromString(await stream.read())
        assert answer.result.accepted.decision.accepted

        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ended.value.details() == "The server is short of memory; open another stream later."
        # Who sends what they have to say is answered.
        await server.check(samples.check(samples.low_request()))
        (shed,) = await server.lines("calls_shed", 1)

    assert shed["calls"] == 1
    assert shed["resident_bytes"] > MIB


async def test_an_answer_is_refused_where_too_many_large_ones_are_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path, max_memory=1) as server:
        with pytest.raises(Refused) as refused:
            await server.raw("LiquidationRulesService.BatchCheckClaims", LARGE_ANSWER[5:])

        assert refused.value.code == -1003
        await server.check(samples.check(samples.low_request()))
