"""When something fails that is not the caller's doing: told plainly, logged in full, recovered."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from liquidation.api import check, liquidations
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import ClaimRequest, StoredState
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import Policy
from liquidation.v1 import liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.sidecars import Refused, Running, health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def break_store(server: Running) -> None:
    _execute(server, "ALTER TABLE liquidation RENAME TO elsewhere")


def mend_store(server: Running) -> None:
    _execute(server, "ALTER TABLE elsewhere RENAME TO liquidation")


def _execute(server: Running, statement: str) -> None:
    connection = sqlite3.connect(Path(server.log_file).parent / "store.db")
    connection.execute(statement)
    connection.close()


async def until(server: Running, service: str, status: int) -> None:
    """Returns once the health of a service is `status`."""
    async for response in health(server.channel, service):
        if response.status == status:
            return


async def test_without_its_store_the_service_refuses_and_says_so_until_it_is_back(
    server: Running,
) -> None:
    request = samples.check(samples.low_request())
    await until(server, "", SERVING)
    break_store(server)

    refused = await server.refused(request)

    assert (refused.code, refused.grpc_code) == (-1011, grpc.StatusCode.UNAVAILABLE)
    assert refused.details is not None
    assert refused.details.retry.retry_delay.ToSeconds() == 1
    assert "sqlite" not in str(refused.details.status).lower()
    for service in ("", "liquidation.v1.LiquidationRulesService"):
        await until(server, service, NOT_SERVING)

    mend_store(server)
    await until(server, "", SERVING)
    assert (await server.check(request)).decision.accepted
    notes = await server.lines("store_available", count=1)
    notes += await server.lines("store_unavailable")
    assert len(notes) == 2
    assert [line["code"] for line in await server.lines(count=2)] == [-1011, 0]


async def test_while_the_store_takes_no_writes_what_writes_does_not_serve(
    server: Running,
) -> None:
    await until(server, "", SERVING)
    store = server.log_file.with_name("store.db")
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for entry in ("", "store", "liquidation.v1.ClaimService"):
            await until(server, entry, NOT_SERVING)

        await until(server, "liquidation.v1.LiquidationRulesService", SERVING)
        assert (await server.check(samples.check(samples.low_request()))).decision.accepted
        other.execute("ROLLBACK")
    for entry in ("", "store", "liquidation.v1.ClaimService"):
        await until(server, entry, SERVING)


async def test_what_a_rule_without_store_refuses_is_refused_as_ever(server: Running) -> None:
    break_store(server)

    refused = await server.refused(
        samples.check(samples.low_request({"ratio_qty_request": "1.1"}, explain=True))
    )

    assert refused.message == "ratio_qty_request should be in range 0-1."
    assert refused.details is not None
    decision = refused.details.error.decision
    assert (decision.rule, decision.total_notional) == ("ratio_qty_request_range", "")
    assert len(decision.trace) == 13


async def test_a_batch_without_store_has_a_result_for_each_item(server: Running) -> None:
    break_store(server)
    sound = samples.check(samples.low_request())
    broken = samples.check(samples.low_request({"ratio_qty_request": ""}))

    response = await server.call(
        "LiquidationRulesService.BatchCheckClaims",
        rules_service_pb2.BatchCheckClaimsRequest(requests=[sound, broken, sound]),
    )

    codes = [line["code"] for line in await server.lines(count=3)]
    assert codes == [-1011, -1005, -1011]
    assert len(response.results) == 3


@pytest.mark.parametrize(
    "request_",
    [
        liquidation_service_pb2.PutLiquidationRequest(liquidation=samples.snapshot(samples.low())),
        liquidation_service_pb2.GetLiquidationRequest(liquidation_id=1),
        liquidation_service_pb2.ListLiquidationsRequest(),
        liquidation_service_pb2.CloseLiquidationRequest(liquidation_id=1),
    ],
    ids=lambda request: request.DESCRIPTOR.name,
)
async def test_every_call_on_liquidations_says_that_the_store_is_gone(
    server: Running, request_: Message
) -> None:
    break_store(server)
    name = request_.DESCRIPTOR.name.removesuffix("Request")

    refused = await server.refused(request_, f"LiquidationService.{name}")

    assert refused.code == -1011


def _fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError("the secret inside of us")


async def test_a_fault_of_ours_is_1000_in_fixed_words_with_its_traceback_in_the_log(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "evaluate", _fail)

    refused = await server.refused(samples.check(samples.low_request()))

    assert (refused.code, refused.grpc_code) == (-1000, grpc.StatusCode.INTERNAL)
    assert refused.message == "An unknown error occurred while processing the request."
    assert "secret" not in str(refused.trailers)
    (line,) = await server.lines(count=1)
    (fault,) = await server.lines("fault")
    assert (line["code"], line["level"]) == (-1000, "error")
    assert fault["decision_id"] == line["decision_id"]
    assert "the secret inside of us" in fault["traceback"]
    assert refused.details is not None
    assert refused.details.error.decision.decision_id == line["decision_id"]


async def test_a_fault_in_one_item_is_that_item_s_alone(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = samples.check(samples.low_request())
    cursed = samples.check(samples.low_request({"liquidator_id": "cursed"}))

    def fail_for_one(policy: Policy, request: ClaimRequest, state: StoredState | None) -> Decision:
        if request.terms is not None and request.terms.liquidator_id == "cursed":
            _fail()
        return evaluate(policy, request, state)

    monkeypatch.setattr(check, "evaluate", fail_for_one)

    await server.call(
        "LiquidationRulesService.BatchCheckClaims",
        rules_service_pb2.BatchCheckClaimsRequest(requests=[sound, cursed, sound]),
    )

    assert [line["code"] for line in await server.lines(count=3)] == [0, -1000, 0]


async def test_a_fault_in_parsing_a_call_reaches_none_beside_it(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = samples.check(samples.low_request())
    cursed = samples.check(samples.low_request({"liquidator_id": "cursed"}))

    def fail_for_one(
        request: rules_service_pb2.CheckClaimRequest, *rest: Any, **more: Any
    ) -> ClaimRequest:
        if request.terms.liquidator_id == "cursed":
            _fail()
        return parse_request(request, *rest, **more)

    monkeypatch.setattr(check, "parse_request", fail_for_one)

    async def code(request: rules_service_pb2.CheckClaimRequest) -> int:
        try:
            await server.check(request)
        except Refused as refused:
            return refused.code
        return 0

    codes = await asyncio.gather(*map(code, [sound, cursed, sound, sound] * 50))

    assert codes == [0, -1000, 0, 0] * 50
    assert len(await server.lines("fault", count=50)) == 50
    assert len(await server.lines(count=200)) == 200


async def test_a_fault_outside_of_every_request_is_1000_with_a_line_too(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "parse_message", _fail)

    refused = await server.refused(samples.check(samples.low_request()))

    assert (refused.code, refused.grpc_code) == (-1000, grpc.StatusCode.INTERNAL)
    (line,) = await server.lines(count=1)
    (fault,) = await server.lines("fault", count=1)
    assert (line["code"], line["decision_id"]) == (-1000, fault["decision_id"])


async def test_a_fault_in_another_call_is_1000_too(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liquidations, "key_of", _fail)

    refused = await server.refused(
        liquidation_service_pb2.ListLiquidationsRequest(), "LiquidationService.ListLiquidations"
    )

    assert refused.code == -1000
    assert len(await server.lines("fault", count=1)) == 1


ITEMS = 1000


@pytest.mark.parametrize("how", ["cancelled", "past its deadline"])
async def test_a_call_that_is_given_up_does_no_more_work_and_leaves_its_lines(
    server: Running, how: str
) -> None:
    name = "LiquidationRulesService.BatchCheckClaims"
    if how == "cancelled":
        call = asyncio.ensure_future(server.raw(name, samples.slow_batch()))
        await server.lines(count=1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        with pytest.raises(Refused) as raised:
            await server.raw(name, samples.slow_batch(), timeout=0.05)
        assert raised.value.grpc_code is grpc.StatusCode.DEADLINE_EXCEEDED

    lines = await server.lines(count=ITEMS)

    codes = [line["code"] for line in lines]
    decided = codes.count(-1201)
    assert decided < ITEMS
    assert codes == [-1201] * decided + [-1011] * (ITEMS - decided)
    assert {line["message"] for line in lines[decided:]} == {
        "The call was cancelled or its deadline passed before it was decided."
    }
    assert [line["seq"] for line in lines] == list(range(1, ITEMS + 1))
