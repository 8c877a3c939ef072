"""A client that has nothing but the address: health, reflection, the catalogue, the rules."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from liquidation.rules.errors import TABLE
from liquidation.rules.model import Tier
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from liquidation.v1 import rules_service_pb2
from tests.processes import serving
from tests.sidecars import Running, health, running

SERVICES = (
    "liquidation.v1.LiquidationRulesService",
    "liquidation.v1.LiquidationService",
    "liquidation.v1.ClaimService",
)


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_has_an_entry_for_each_service_and_for_all(
    server: Running, service: str
) -> None:
    async for response in health(server.channel, service):
        assert response.status != health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            break


def test_a_client_built_from_reflection_alone_can_ask(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        assert set(database.get_services()) >= {*SERVICES, "grpc.health.v1.Health"}
        service = pool.FindServiceByName(SERVICES[0])
        method = service.FindMethodByName("CheckClaim")
        request: Any = GetMessageClass(method.input_type)()
        request.terms.liquidation_id = 1
        request.terms.liquidator_id = "l"
        request.terms.ratio_qty_request = "1"

        check: Any = channel.unary_unary(f"/{SERVICES[0]}/CheckClaim")
        with pytest.raises(grpc.RpcError) as refused:
            check(request.SerializeToString())

    assert refused.value.details() == "Can not find given liquidationId."


async def test_the_error_codes_are_every_row_of_the_table(server: Running) -> None:
    response = await server.call(
        "LiquidationRulesService.ListErrorCodes", rules_service_pb2.ListErrorCodesRequest()
    )

    assert [
        (each.code, each.http_status, each.name, each.message, each.grpc_code, each.emitted)
        for each in response.error_codes
    ] == [
        (row.code, row.kind.http_status, row.kind.name, row.message, row.grpc.name, row.emitted)
        for row in TABLE
    ]


async def test_the_rules_in_force_are_told(tmp_path: Path) -> None:
    policy = replace(
        Policy(),
        version="2026-11",
        min_claim_notional={Tier.LOW: Decimal("0.5"), Tier.HIGH: Decimal(7)},
        modes={"limit_price": Mode.SHADOW, "liquidator_margin": Mode.OFF},
    )
    async with running(tmp_path, policy) as server:
        rules = await server.call(
            "LiquidationRulesService.GetRules", rules_service_pb2.GetRulesRequest()
        )

    assert rules.version == "2026-11"
    assert [(each.tier, each.min_claim_notional) for each in rules.tiers] == [(1, "0.5"), (2, "7")]
    assert tuple(each.rule for each in rules.rules) == RULE_NAMES
    assert [each.mode for each in rules.rules] == [1] * 11 + [2, 3]
    assert rules.default_lease_ttl.ToSeconds() == 30
    assert rules.claim_retention.ToSeconds() == 7 * 24 * 3600
