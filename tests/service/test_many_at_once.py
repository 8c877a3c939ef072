"""Batches and streams: every item answered, in order, whatever the others are."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

import grpc
import pytest

from liquidation.rules.policy import Limits, Policy
from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.sidecars import Refused, Running, details_of, held_up, running

BATCH = "LiquidationRulesService.BatchCheckClaims"
STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"


@cache
def _sample(ratio: str) -> rules_service_pb2.CheckClaimRequest:
    return samples.check(samples.low_request({"ratio_qty_request": ratio}))


def item(number: int) -> rules_service_pb2.CheckClaimRequest:
    """The number-th of many: every third is broken, every fifth of the others too small."""
    if number % 3 == 0:
        return _sample("many")
    made = rules_service_pb2.CheckClaimRequest()
    made.CopyFrom(_sample("0.0001" if number % 5 == 0 else "1"))
    made.terms.liquidation_id = made.liquidation.liquidation_id = number
    return made


def streamed_item(number: int) -> bytes:
    return rules_service_pb2.StreamCheckClaimsRequest(request=item(number)).SerializeToString()


def code_of(result: rules_service_pb2.CheckClaimResult) -> int:
    if result.WhichOneof("result") == "accepted":
        return 0
    return details_of(result.refused).error.code


def expected(number: int) -> int:
    if number % 3 == 0:
        return -1005
    return -1201 if number % 5 == 0 else 0


async def test_a_batch_of_1000_with_every_third_broken_has_1000_results_in_order(
    server: Running,
) -> None:
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=map(item, range(1, 1001)))

    response = await server.call(BATCH, batch)

    assert [code_of(each) for each in response.results] == [expected(n) for n in range(1, 1001)]
    lines = await server.lines(count=1000)
    assert [line["code"] for line in lines] == [expected(n) for n in range(1, 1001)]
    assert [line["seq"] for line in lines] == list(range(1, 1001))
    assert {line["rpc"] for line in lines} == {"BatchCheckClaims"}


def explained(liquidator_id: str) -> bytes:
    """The largest batch, of items that are explained."""
    request = rules_service_pb2.CheckClaimRequest(explain=True)
    request.terms.liquidator_id = liquidator_id
    return rules_service_pb2.BatchCheckClaimsRequest(requests=[request] * 1000).SerializeToString()


async def test_batches_that_are_given_up_leave_a_line_for_each_of_their_items(
    server: Running,
) -> None:
    calls = [asyncio.ensure_future(server.raw(BATCH, explained(str(n)))) for n in range(5)]
    while {line["liquidator_id"] for line in await server.lines()} != set("01234"):
        await asyncio.sleep(0)
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    lines = await server.lines(count=5000)

    assert Counter(line["liquidator_id"] for line in lines) == dict.fromkeys("01234", 1000)
    assert lines[-1]["code"] == -1011


async def test_an_item_of_a_batch_has_the_details_of_a_single_call(server: Running) -> None:
    request = samples.check(samples.low_request({"ratio_qty_request": "0.1"}, explain=True))

    single = await server.refused(request)
    batch = await server.call(BATCH, rules_service_pb2.BatchCheckClaimsRequest(requests=[request]))

    (result,) = batch.results
    assert single.details is not None
    alone, within = single.details, details_of(result.refused)
    within.error.decision.decision_id = ""
    alone.error.decision.decision_id = ""
    assert alone.error == within.error
    assert (alone.info, alone.precondition) == (within.info, within.precondition)


async def test_an_unknown_field_refuses_its_own_item_only(server: Running) -> None:
    sound = samples.check(samples.low_request())
    unknown = rules_service_pb2.CheckClaimRequest.FromString(
        sound.SerializeToString() + bytes([0xE8, 0x04, 0x01])
    )

    response = await server.call(
        BATCH, rules_service_pb2.BatchCheckClaimsRequest(requests=[sound, unknown, sound])
    )

    assert [code_of(each) for each in response.results] == [0, -1004, 0]


async def test_a_stream_of_10000_with_broken_messages_has_10000_answers_in_order(
    server: Running,
) -> None:
    async def requests() -> AsyncIterator[bytes]:
        for number in range(1, 10_001):
            if number % 100 == 0:
                yield b"\xff garbage"
            else:
                yield rules_service_pb2.StreamCheckClaimsRequest(
                    correlation_id=f"#{number}", request=item(number)
                ).SerializeToString()

    answers = [
        rules_service_pb2.StreamCheckClaimsResponse.FromString(data)
        async for data in server.channel.stream_stream(STREAM)(requests())
    ]

    wanted = [
        ("", -1005) if number % 100 == 0 else (f"#{number}", expected(number))
        for number in range(1, 10_001)
    ]
    assert [(each.correlation_id, code_of(each.result)) for each in answers] == wanted
    lines = await server.lines(count=10_000)
    assert [line["seq"] for line in lines] == list(range(1, 10_001))
    assert {line["rpc"] for line in lines} == {"StreamCheckClaims"}


async def test_a_stream_answers_each_message_before_the_next_is_sent(server: Running) -> None:
    call = server.channel.stream_stream(STREAM)()
    for number in (1, 2, 3):
        await call.write(
            rules_service_pb2.StreamCheckClaimsRequest(
                correlation_id=str(number), request=item(number)
            ).SerializeToString()
        )
        answer = rules_service_pb2.StreamCheckClaimsResponse.FromString(await call.read())
        assert answer.correlation_id == str(number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_call_beyond_the_limit_is_refused_with_a_time_to_wait(tmp_path: Path) -> None:
    policy = replace(Policy(), limits=Limits(max_concurrent_calls=1))
    async with running(tmp_path, policy) as server:
        async with held_up(server):
            refused = await server.refused(item(1))
            also = await server.refused(
                rules_service_pb2.GetRulesRequest(), "LiquidationRulesService.GetRules"
            )
            streamed = await server.channel.stream_stream(STREAM)([streamed_item(1)]).read()

        assert (refused.code, also.code) == (-1003, -1003)
        result = rules_service_pb2.StreamCheckClaimsResponse.FromString(streamed).result
        assert details_of(result.refused).error.code == -1003
        assert refused.grpc_code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.message == "Rate limit exceed."
        assert refused.details is not None
        assert refused.details.retry.retry_delay.ToSeconds() == 1
        assert [line["code"] for line in await server.lines(count=2)] == [-1003, -1003]
        await server.check(item(1))


async def test_streams_that_wait_for_their_callers_take_no_place_from_others(
    tmp_path: Path,
) -> None:
    policy = replace(Policy(), limits=Limits(max_concurrent_calls=1))
    async with running(tmp_path, policy) as server:
        silent = server.channel.stream_stream(STREAM)()
        asking = server.channel.stream_stream(STREAM)()
        for number in (1, 2, 4):
            await asking.write(streamed_item(number))
            await asking.read()

        await server.check(item(1))

        assert [line["code"] for line in await server.lines(count=4)] == [0] * 4
        for each in (silent, asking):
            await each.done_writing()
            assert await each.read() is grpc.aio.EOF


@pytest.mark.parametrize(("explain", "chunk"), [(False, 32), (True, 8)], ids=["plain", "explained"])
async def test_batches_that_are_decided_at_the_same_time_take_turns_chunk_by_chunk(
    server: Running, explain: bool, chunk: int
) -> None:
    """So whoever asks for little meanwhile waits for a chunk of one batch, and not for all."""
    batches = []
    for name in "abcd":
        request = rules_service_pb2.CheckClaimRequest(explain=explain)
        request.terms.liquidator_id = name
        batches.append(rules_service_pb2.BatchCheckClaimsRequest(requests=[request] * 1000))

    await asyncio.gather(*(server.call(BATCH, batch) for batch in batches))

    asked = [line["liquidator_id"] for line in await server.lines(count=4000)]
    first = {name: asked.index(name) for name in "abcd"}
    last = {name: 3999 - asked[::-1].index(name) for name in "abcd"}
    together = asked[max(first.values()) : min(last.values())]
    assert max((sum(1 for _ in run) for _, run in groupby(together)), default=0) <= chunk


async def test_calls_at_the_same_time_each_have_their_own_answer_and_line(server: Running) -> None:
    check = "LiquidationRulesService.CheckClaim"

    async def ask(number: int) -> tuple[int, int]:
        try:
            if number % 7 == 0:
                await server.raw(check, b"\xff garbage")
            answer = await server.check(item(number))
        except Refused as refused:
            return number, refused.code
        return number, 0 if answer.decision.accepted else 1

    answers = await asyncio.gather(*map(ask, range(1, 401)))

    wanted = [-1005 if number % 7 == 0 else expected(number) for number in range(1, 401)]
    assert answers == list(enumerate(wanted, 1))
    lines = await server.lines(count=400)
    assert sorted(line["code"] for line in lines) == sorted(wanted)
    assert [line["seq"] for line in lines] == list(range(1, 401))
