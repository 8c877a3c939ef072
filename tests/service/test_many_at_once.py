"""Batches and streams: every item answered, in order, whatever the others are."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.api import rpc, turns, wire
from liquidation.api.desk import Answer, Asked, Desk, turn_of
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.policy import Limits, Policy
from liquidation.rules.texts import Sent
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


async def lines_of_batches_given_up(server: Running) -> list[dict[str, Any]]:
    """The lines of five batches whose caller goes away while they are decided."""
    calls = [asyncio.ensure_future(server.raw(BATCH, explained(str(n)))) for n in range(5)]
    while {line["liquidator_id"] for line in await server.lines()} != set("01234"):
        await asyncio.sleep(0)
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    lines = await server.lines(count=5000)
    assert Counter(line["liquidator_id"] for line in lines) == dict.fromkeys("01234", 1000)
    return lines


@pytest.mark.parametrize("too_many", [False, True])
async def test_batches_that_are_given_up_leave_their_lines_in_turns_up_to_a_bound(
    server: Running, monkeypatch: pytest.MonkeyPatch, *, too_many: bool
) -> None:
    told = most = 0
    decision = DecisionLog.decision

    def counted(*args: Any, **fields: Any) -> None:
        nonlocal told
        told += 1
        decision(*args, **fields)

    async def watch() -> None:
        nonlocal most
        while True:
            before = told
            await asyncio.sleep(0)
            most = max(most, told - before)

    monkeypatch.setattr(DecisionLog, "decision", counted)
    if too_many:
        monkeypatch.setattr(rpc, "_MOST_LEFT", 0)
    watching = asyncio.ensure_future(watch())
    lines = await lines_of_batches_given_up(server)
    watching.cancel()

    assert lines[-1]["code"] == -1011
    assert (most > turn_of(explained=True)) == too_many


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


@pytest.mark.parametrize(("explain", "parts"), [(False, 4), (True, 13)], ids=["plain", "explained"])
async def test_of_many_batches_one_goes_on_in_each_turn_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, explain: bool, parts: int
) -> None:
    """So whoever asks for little meanwhile waits for a part of one batch, and not of all."""
    loop = asyncio.get_running_loop()
    turn_of_loop = 0
    begun: list[int] = []
    read: Counter[int] = Counter()
    real, real_sent = Desk.turn, wire.sent

    async def turn(self: Desk) -> None:
        await real(self)
        begun.append(turn_of_loop)

    def sent(*told: Any, **more: Any) -> Sent:
        read[turn_of_loop] += 1
        return real_sent(*told, **more)

    def count() -> None:
        nonlocal turn_of_loop
        turn_of_loop += 1
        loop.call_soon(count)

    monkeypatch.setattr(Desk, "turn", turn)
    monkeypatch.setattr(wire, "sent", sent)
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=map(item, range(1, 101)))
    batch.requests[50].explain = explain
    async with running(tmp_path) as server:
        count()
        await asyncio.gather(*(server.call(BATCH, batch) for _ in range(10)))

    # Taken apart in a turn, and read, decided and answered in so many.
    assert len(begun) == 10 * (1 + parts)
    assert len(set(begun)) == len(begun)
    assert len(read) == 10 * parts
    assert max(read.values()) == (8 if explain else 32)


async def test_calls_that_are_decided_together_each_have_their_own_answer_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the loop never had any rest.
    monkeypatch.setattr(turns, "_NO_REST", 0)
    monkeypatch.setattr(turns, "_REST", -1)
    monkeypatch.setattr(turns, "_FIRST_PAUSE", 1)
    together: list[int] = []
    real = Desk.check_together

    async def seen(self: Desk, asked: Sequence[Asked]) -> list[Answer]:
        together.append(len(asked))
        return await real(self, asked)

    monkeypatch.setattr(Desk, "check_together", seen)
    check = "LiquidationRulesService.CheckClaim"
    async with running(tmp_path) as server:

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
    assert sum(together) == 400
    assert max(together) > 1
