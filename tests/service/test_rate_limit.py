"""A server that lets each liquidator ask so often: what counts, and what a caller is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from liquidation.rules.policy import Limits, Policy
from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.sidecars import Refused, Running, details_of, running

BATCH = "LiquidationRulesService.BatchCheckClaims"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that lets a liquidator ask twice a second."""
    limits = Limits(liquidator_requests_per_second=2)
    async with running(tmp_path, Policy(limits=limits)) as server:
        yield server


def check(liquidator: str, **changes: Any) -> rules_service_pb2.CheckClaimRequest:
    return samples.check(samples.low_request({"liquidator_id": liquidator} | changes))


async def codes_of_batch(
    server: Running, *requests: rules_service_pb2.CheckClaimRequest
) -> list[int]:
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=requests)
    return [
        details_of(each.refused).error.code if each.HasField("refused") else 0
        for each in (await server.call(BATCH, batch)).results
    ]


async def refused_in_the_end(server: Running, name: str, request: Message) -> Refused:
    """The refusal that comes of making a call again and again."""
    while True:
        try:
            await server.call(name, request)
        except Refused as refused:
            return refused


async def line_of(server: Running, event: str, refused: Refused) -> dict[str, Any]:
    """The line of a refusal, once it is written."""
    assert refused.details is not None
    decision_id = refused.details.error.decision.decision_id
    while True:
        for line in await server.lines(event, 1):
            if line["decision_id"] == decision_id:
                return line
        await asyncio.sleep(0.005)


async def test_each_item_of_a_batch_counts_for_its_liquidator(server: Running) -> None:
    codes = await codes_of_batch(server, *map(check, "aababbb"))

    assert codes == [0, 0, 0, -1003, 0, -1003, -1003]


async def test_a_request_that_the_rules_refuse_counts_too(server: Running) -> None:
    small = check("a", ratio_qty_request="0.0001")

    assert await codes_of_batch(server, small, small, small) == [-1201, -1201, -1003]


async def test_a_request_without_a_liquidator_is_left_to_the_rules(server: Running) -> None:
    assert await codes_of_batch(server, *[check("")] * 4) == [-1005] * 4


async def test_who_asks_too_often_is_told_when_to_ask_again_and_may(server: Running) -> None:
    refused = await refused_in_the_end(server, "LiquidationRulesService.CheckClaim", check("a"))

    assert (refused.code, refused.grpc_code.name) == (-1003, "RESOURCE_EXHAUSTED")
    assert refused.details is not None
    assert refused.details.info.metadata["liquidator_requests_per_second"] == "2"
    delay = refused.details.retry.retry_delay.ToTimedelta().total_seconds()
    assert 0 < delay <= 1.001
    line = await line_of(server, "decision", refused)
    assert (line["code"], line["name"], line["liquidator_id"]) == (-1003, "TOO_MANY_REQUEST", "a")
    await asyncio.sleep(delay)
    await server.check(check("a"))


async def test_a_claim_that_is_begun_counts(server: Running) -> None:
    begin = ParseDict(
        samples.low_request() | {"request_id": "r-1"}, claim_service_pb2.BeginClaimRequest()
    )

    refused = await refused_in_the_end(server, "ClaimService.BeginClaim", begin)

    assert refused.code == -1003
    line = await line_of(server, "claim", refused)
    assert (line["code"], line["claim_id"]) == (-1003, "")


async def test_items_of_a_stream_count_and_the_stream_goes_on(server: Running) -> None:
    def items() -> list[bytes]:
        return [
            rules_service_pb2.StreamCheckClaimsRequest(
                correlation_id=each, request=check(each)
            ).SerializeToString()
            for each in "aaab"
        ]

    stream = server.channel.stream_stream(
        "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
    )
    results = [
        rules_service_pb2.StreamCheckClaimsResponse.FromString(each).result
        async for each in stream(iter(items()), timeout=30)
    ]

    assert [each.HasField("accepted") for each in results] == [True, True, False, True]
    assert details_of(results[2].refused).error.code == -1003


async def test_without_a_limit_a_liquidator_may_ask_as_often_as_it_likes(tmp_path: Path) -> None:
    assert Policy().limits.liquidator_requests_per_second == 0
    async with running(tmp_path) as server:
        assert await codes_of_batch(server, *[check("a")] * 100) == [0] * 100
