"""Envoy before the sidecar: gRPC arrives as without it, and only a sidecar that serves is asked."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.deploy.envoys import CONFIGURATION, Front, front, needs_envoy, terms
from tests.sidecars import Details, Refused, Running, details_of, dial

pytestmark = needs_envoy
TABLES = ("liquidation", "claim")
CHECK_CLAIM = "/liquidation.v1.LiquidationRulesService/CheckClaim"


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("envoy")) as envoy:
        yield envoy


def execute(envoy: Front, *statements: str) -> None:
    with closing(sqlite3.connect(envoy.sidecar.directory / "liquidation.db")) as store:
        for statement in statements:
            store.execute(statement)


def seen(answer: Any) -> str:
    """An answer or its details as text, without what differs from decision to decision."""
    if isinstance(answer, Details):
        answer = replace(answer, status=None)
    return re.sub(r'decision_id: "[^"]*"', "", str(answer))


REQUESTS = [
    samples.low_request({"ratio_qty_request": "0.1"}, explain=True),
    samples.low_request({"ratio_qty_request": "half"}),
    samples.low_request({"liquidation_id": 1}),
    {"terms": samples.low_terms(liquidation_id=1)},
    samples.high_request(explain=True),
]


async def _answers(address: str) -> list[str]:
    """All that a caller at `address` sees of `REQUESTS`: one by one, as a batch, in a stream."""
    requests = [samples.check(request) for request in REQUESTS]
    answers = []
    async with dial(address) as channel:
        caller = Running(address, channel, Path())
        for request in requests:
            try:
                answers.append(seen(await caller.check(request)))
            except Refused as refused:
                answers.append(f"{refused.grpc_code} {refused.message} {seen(refused.details)}")
        batch = rules_service_pb2.BatchCheckClaimsRequest(requests=requests)
        response = await caller.call("LiquidationRulesService.BatchCheckClaims", batch)
        results = list(response.results)
        stream = channel.stream_stream("/liquidation.v1.LiquidationRulesService/StreamCheckClaims")(
            timeout=30
        )
        for number, request in enumerate(requests):
            item = rules_service_pb2.StreamCheckClaimsRequest(
                correlation_id=str(number), request=request
            )
            await stream.write(item.SerializeToString())
            answer = rules_service_pb2.StreamCheckClaimsResponse.FromString(await stream.read())
            assert answer.correlation_id == str(number)
            results.append(answer.result)
        await stream.done_writing()
    for result in results:
        is_refused = result.HasField("refused")
        answers.append(seen(details_of(result.refused) if is_refused else result.accepted))
    return answers


async def test_over_grpc_answers_and_details_arrive_as_without_envoy(envoy: Front) -> None:
    direct = await _answers(envoy.sidecar.address)

    assert await _answers(envoy.grpc_address) == direct
    assert "RULE_OUTCOME_REFUSED" in direct[0]
    assert len(direct) == 3 * len(REQUESTS)


def test_a_sidecar_that_says_it_is_not_serving_is_asked_nothing(envoy: Front) -> None:
    assert envoy.ask("/v1/rules").status == 200
    execute(envoy, *(f"ALTER TABLE {name} RENAME TO {name}_gone" for name in TABLES))
    try:
        # GetRules needs no store: it is Envoy that asks no more.
        assert envoy.until(503).refusal == (503, -1011)
    finally:
        execute(envoy, *(f"ALTER TABLE {name}_gone RENAME TO {name}" for name in TABLES))
        envoy.until(200)


def test_without_a_sidecar_it_is_not_reached_until_one_is_back(envoy: Front) -> None:
    body = terms(envoy.open(samples.low))
    envoy.sidecar.stop()
    try:
        refused = envoy.claim(body)
        with pytest.raises(grpc.RpcError) as over_grpc:
            envoy.call(CHECK_CLAIM, samples.check(samples.low_request()))
    finally:
        envoy.sidecar.start()
        envoy.until(200)

    assert refused.refusal == (503, -1011)
    assert refused.body["message"].endswith("Please try again in a few seconds.")
    assert over_grpc.value.code() is grpc.StatusCode.UNAVAILABLE
    assert envoy.claim(body).data["claim"]["state"] == "CLAIM_STATE_ACTIVE"


def test_only_what_may_be_asked_twice_is_sent_twice() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    (pattern,) = re.findall(r"regex: (\S+)", text)
    paths = [
        f"/{service.full_name}/{method.name}"
        for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]

    sent_twice = {path.rpartition("/")[2] for path in paths if re.fullmatch(pattern, path)}

    assert sent_twice == {
        "CheckClaim",
        "BatchCheckClaims",
        "ListErrorCodes",
        "GetRules",
        "GetLiquidation",
        "ListLiquidations",
        "BeginClaim",
        "GetClaim",
        "ListClaims",
    }
