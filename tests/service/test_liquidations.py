"""LiquidationService: what is under liquidation, as the risk backend writes and reads it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.v1 import liquidation_service_pb2 as pb
from tests import samples
from tests.sidecars import Refused, Running, running


class Register:
    """LiquidationService of a server, by its calls."""

    def __init__(self, server: Running) -> None:
        self.server = server

    async def put(self, **changes: Any) -> pb.PutLiquidationResponse:
        request = pb.PutLiquidationRequest(liquidation=samples.snapshot(samples.low(**changes)))
        response: pb.PutLiquidationResponse = await self._call("PutLiquidation", request)
        return response

    async def put_many(self, *liquidations: dict[str, Any]) -> pb.BatchPutLiquidationsResponse:
        request = pb.BatchPutLiquidationsRequest(
            requests=[
                pb.PutLiquidationRequest(liquidation=samples.snapshot(each))
                for each in liquidations
            ]
        )
        response: pb.BatchPutLiquidationsResponse = await self._call(
            "BatchPutLiquidations", request
        )
        return response

    async def get(self, liquidation_id: int) -> pb.GetLiquidationResponse:
        request = pb.GetLiquidationRequest(liquidation_id=liquidation_id)
        response: pb.GetLiquidationResponse = await self._call("GetLiquidation", request)
        return response

    async def close(self, liquidation_id: int) -> pb.CloseLiquidationResponse:
        request = pb.CloseLiquidationRequest(liquidation_id=liquidation_id)
        response: pb.CloseLiquidationResponse = await self._call("CloseLiquidation", request)
        return response

    async def page(self, **request: Any) -> pb.ListLiquidationsResponse:
        response: pb.ListLiquidationsResponse = await self._call(
            "ListLiquidations", pb.ListLiquidationsRequest(**request)
        )
        return response

    async def pages(self, **request: Any) -> AsyncIterator[list[int]]:
        token = ""
        while True:
            page = await self.page(page_token=token, **request)
            yield [each.liquidation_id for each in page.liquidations]
            token = page.next_page_token
            if not token:
                return

    async def _call(self, method: str, request: Any) -> Any:
        return await self.server.call(f"LiquidationService.{method}", request)


@pytest.fixture
def register(server: Running) -> Register:
    return Register(server)


def stored_request(**terms: Any) -> Any:
    """A request without a snapshot: the stored one is to be used."""
    return samples.check({"terms": samples.low_terms(**terms)})


async def test_what_was_put_comes_back_in_plain_numbers(register: Register) -> None:
    positions = [{"symbol": "A", "position_qty": "-1.500", "mark_price": "0002.0"}]

    put = await register.put(positions=positions, margin_ratio="-0.0")

    got = await register.get(101)
    assert put.applied
    assert got.liquidation == put.liquidation
    assert (got.liquidation.positions[0].position_qty, got.liquidation.margin_ratio) == (
        "-1.5",
        "0",
    )
    assert got.liquidation.positions[0].mark_price == "2"
    assert got.liquidation.snapshot_time.nanos == 123456789


async def test_an_account_comes_back_in_place_of_the_ratios(register: Register) -> None:
    account = {
        "collateral_value": "10",
        "positions": [samples.margin_position("A", position_qty="3", mark_price="7")],
    }
    put = await register.put(account=account, margin_ratio="", maintenance_margin_ratio="")

    assert put.liquidation.account.positions[0].position_qty == "3"
    assert put.liquidation.margin_ratio == ""
    again = await register.put(
        account=account, margin_ratio="", maintenance_margin_ratio="", revision=8
    )
    assert again.applied


async def test_an_old_revision_changes_nothing_and_the_stored_one_is_returned(
    register: Register,
) -> None:
    await register.put(revision=7)

    for revision in (6, 7):
        put = await register.put(revision=revision, margin_ratio="0.5")
        assert not put.applied
        assert put.liquidation.margin_ratio == "0.008"


async def test_a_stored_liquidation_is_decided_on_where_the_request_has_none(
    register: Register, server: Running
) -> None:
    await register.put()

    response = await server.check(stored_request())

    assert response.decision.liquidation_revision == 7


async def test_a_stale_snapshot_in_a_request_gives_way_to_the_stored_one(
    register: Register, server: Running
) -> None:
    await register.put(revision=7)

    stale = await server.check(
        samples.check(samples.low_request(liquidation={"revision": 6, "margin_ratio": "0.001"}))
    )
    equal = await server.check(
        samples.check(samples.low_request(liquidation={"revision": 7, "margin_ratio": "0.002"}))
    )

    assert (stale.decision.liquidation_revision, stale.decision.margin_ratio) == (7, "0.008")
    assert (equal.decision.liquidation_revision, equal.decision.margin_ratio) == (7, "0.002")


async def test_a_check_stores_nothing(register: Register, server: Running) -> None:
    await server.check(samples.check(samples.low_request()))

    with pytest.raises(Refused) as refused:
        await register.get(101)
    assert refused.value.code == -1202


async def test_a_closed_liquidation_is_not_found_even_with_a_new_snapshot(
    register: Register, server: Running
) -> None:
    await register.put()
    closed = await register.close(101)
    assert closed.liquidation.revision == 7

    for request in (
        stored_request(),
        samples.check(samples.low_request(liquidation={"revision": 99})),
    ):
        refused = await server.refused(request)
        assert (refused.code, refused.grpc_code) == (-1202, grpc.StatusCode.NOT_FOUND)
        assert refused.message == "Can not find given liquidationId."
    for again in (register.get, register.close):
        with pytest.raises(Refused) as not_found:
            await again(101)
        assert not_found.value.code == -1202
    late = await register.put(revision=99)
    assert (late.applied, late.closed) == (False, True)


async def test_a_liquidation_of_another_account_is_not_the_one_that_is_known(
    register: Register, server: Running
) -> None:
    await register.put()

    refused = await server.refused(
        samples.check(samples.low_request(liquidation={"account_id": "other", "revision": 99}))
    )

    assert (refused.code, refused.message) == (-1202, "Can not find given liquidationId.")
    with pytest.raises(Refused) as raised:
        await register.put(account_id="other", revision=99)
    assert raised.value.code == -1005


async def test_a_batch_is_stored_in_one_go_with_an_answer_for_each(register: Register) -> None:
    await register.put(liquidation_id=2, revision=5)

    response = await register.put_many(
        *(samples.low(liquidation_id=each, revision=5) for each in (1, 2, 3))
    )

    assert [each.applied for each in response.results] == [True, False, True]
    assert [ids async for ids in register.pages()] == [[1, 2, 3]]


async def test_bad_input_in_a_batch_stores_none_of_it_and_names_the_field(
    register: Register,
) -> None:
    with pytest.raises(Refused) as refused:
        await register.put_many(
            samples.low(liquidation_id=1), samples.low(liquidation_id=2, revision=0)
        )

    assert refused.value.details is not None
    (violation,) = refused.value.details.bad_request.field_violations
    assert violation.field == "requests[1].liquidation.revision"
    assert [ids async for ids in register.pages()] == [[]]


async def test_pages_are_by_id_and_each_liquidation_is_in_one(register: Register) -> None:
    await register.put_many(
        *(samples.low(liquidation_id=each, account_id=f"a{each % 2}") for each in range(1, 12))
    )

    assert [ids async for ids in register.pages(page_size=5)] == [
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
        [11],
    ]
    assert [ids async for ids in register.pages(page_size=3, account_id="a0")] == [
        [2, 4, 6],
        [8, 10],
    ]
    assert [ids async for ids in register.pages(account_id="nobody")] == [[]]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"account_id": "not\0one"}, "account_id"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "guess"}, "page_token"),
        ({"page_token": "ÿ"}, "page_token"),
        ({"page_token": "YWZ0ZXI6LTE="}, "page_token"),
        ({"page_token": "YWZ0ZXI6OTk5OTk5OTk5OTk5OTk5OTk5OQ=="}, "page_token"),
    ],
    ids=str,
)
async def test_a_page_that_cannot_be_is_malformed(
    register: Register, request_: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refused) as refused:
        await register.page(**request_)

    assert refused.value.code == -1005
    assert refused.value.details is not None
    assert refused.value.details.bad_request.field_violations[0].field == field


@pytest.mark.parametrize("liquidation_id", [0, -1])
async def test_an_id_that_is_none_is_malformed(register: Register, liquidation_id: int) -> None:
    for call in (register.get, register.close):
        with pytest.raises(Refused) as refused:
            await call(liquidation_id)
        assert refused.value.code == -1005


async def test_a_put_without_liquidation_is_malformed(server: Running) -> None:
    refused = await server.refused(pb.PutLiquidationRequest(), "LiquidationService.PutLiquidation")

    assert refused.code == -1005


async def test_the_log_tells_when_one_is_opened_or_closed_and_not_each_refresh(
    register: Register, server: Running
) -> None:
    await register.put(revision=7)
    await register.put(revision=8)
    await register.close(101)
    with pytest.raises(Refused):
        await register.put(liquidation_id=-5)

    lines = await server.lines("liquidation", count=3)
    told = [(each["change"], each["liquidation_id"], each["revision"]) for each in lines]
    assert told == [("opened", 101, 7), ("closed", 101, 8), ("refused", -5, 7)]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert [line["code"] for line in lines] == [0, 0, -1005]


async def test_a_put_whose_caller_goes_away_is_stored_and_told_or_neither(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        for liquidation_id in range(1, 101):
            request = pb.PutLiquidationRequest(
                liquidation=samples.snapshot(samples.low(liquidation_id=liquidation_id))
            )
            put = asyncio.ensure_future(server.call("LiquidationService.PutLiquidation", request))
            # The earlier ones are given up before they are sent, the later ones while at work.
            for _ in range(liquidation_id // 4):
                await asyncio.sleep(0)
            put.cancel()
            await asyncio.wait([put])

    lines = await server.lines("liquidation")
    told = [line["liquidation_id"] for line in lines if line["change"] == "opened"]
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        stored = connection.execute("SELECT liquidation_id FROM liquidation").fetchall()
    assert sorted(told) == sorted(each for (each,) in stored)
