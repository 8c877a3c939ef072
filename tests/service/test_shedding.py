"""What waits for its caller is ended where memory is short, and nothing else is."""

import asyncio
from pathlib import Path

import grpc
import pytest

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.attacks.hostile.calls import ITEM, LARGE_ANSWER, STREAM
from tests.sidecars import Refused, running

MIB = 1 << 20


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
