"""A real log with every kind of line that callers can cause."""

import sqlite3
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.sidecars import Refused, Running
from tests.unit.deciding import add_unknown_field

__all__ = ["REFUSED_BY", "produce"]

CHECK = "LiquidationRulesService.CheckClaim"
SYMBOLS = [{"symbol": "PERP_BTC_USDC", "ratio_qty_request": "1"}]


def _unknown() -> rules_service_pb2.CheckClaimRequest:
    request = samples.check(samples.low_request())
    add_unknown_field(request.terms)
    return request


# A request that each rule refuses, but for the one that needs a claim in process.
REFUSED_BY: dict[str, rules_service_pb2.CheckClaimRequest] = {
    "known_fields": _unknown(),
    "well_formed": samples.check(samples.low_request({"ratio_qty_request": "half"})),
    "ratio_qty_request_range": samples.check(samples.low_request({"ratio_qty_request": "1.1"})),
    "extra_liquidation_ratio_range": samples.check(
        samples.low_request({"extra_liquidation_ratio": "1.1"})
    ),
    "extra_needs_full_ratio": samples.check(
        samples.low_request({"ratio_qty_request": "0.5", "extra_liquidation_ratio": "0.1"})
    ),
    "liquidation_known": samples.check({"terms": samples.low_terms(liquidation_id=999)}),
    "tier_shape": samples.check(samples.low_request({"ratio_qty_request": "", "symbols": SYMBOLS})),
    "liquidator_not_in_liquidation": samples.check(
        samples.low_request({"liquidator_id": "account-low"})
    ),
    "margin_below_maintenance": samples.check(
        samples.low_request(liquidation={"margin_ratio": "0.012"})
    ),
    "least_request_ratio": samples.check(samples.low_request({"ratio_qty_request": "0.3333"})),
    "limit_price": samples.check(
        samples.low_request({"limit_price": {"PERP_BTC_USDC": "39999.5"}})
    ),
    "liquidator_margin": samples.check(
        samples.low_request(liquidator=samples.liquidator(collateral_value="1"))
    ),
}


async def produce(server: Running) -> None:
    """Calls everything that leaves a line, and most of it also such that it is refused."""
    for request in (
        samples.check(samples.low_request()),
        samples.check(samples.high_request()),
        samples.check(samples.low_request(liquidator=samples.liquidator())),
        *REFUSED_BY.values(),
    ):
        await _told(server, CHECK, request)
    await _garbage(server)
    await _many_at_once(server)
    await _liquidations(server)
    await _claims(server)
    await _without_store(server)


async def _told(server: Running, name: str, request: Message) -> Any:
    """The response, or None where the call is refused, which is told in the log as well."""
    try:
        return await server.call(name, request)
    except Refused:
        return None


async def _garbage(server: Running) -> None:
    large = samples.low_terms(ratio_qty_request="9" * 20_000)
    for data in (b"\xff\xff\xff", samples.check({"terms": large}).SerializeToString()):
        with pytest.raises(Refused):
            await server.raw(CHECK, data)


async def _many_at_once(server: Running) -> None:
    requests = [samples.check(samples.low_request()), REFUSED_BY["least_request_ratio"]]
    batch = rules_service_pb2.BatchCheckClaimsRequest()
    batch.requests.extend(requests)
    await server.call("LiquidationRulesService.BatchCheckClaims", batch)
    empty = rules_service_pb2.BatchCheckClaimsRequest()
    await _told(server, "LiquidationRulesService.BatchCheckClaims", empty)
    call = server.channel.stream_stream(
        "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
    )()
    for request in requests:
        item = rules_service_pb2.StreamCheckClaimsRequest(request=request)
        await call.write(item.SerializeToString())
    await call.done_writing()
    assert len([response async for response in call]) == len(requests)


async def _liquidations(server: Running) -> None:
    put = liquidation_service_pb2.PutLiquidationRequest
    for liquidation in (samples.low(), samples.high(), samples.high(revision=0)):
        request = put(liquidation=samples.snapshot(liquidation))
        await _told(server, "LiquidationService.PutLiquidation", request)
    batch = liquidation_service_pb2.BatchPutLiquidationsRequest()
    await _told(server, "LiquidationService.BatchPutLiquidations", batch)
    stored = samples.check({"terms": samples.low_terms()})
    await _told(server, CHECK, stored)
    for liquidation_id in (202, 999):
        close = liquidation_service_pb2.CloseLiquidationRequest(liquidation_id=liquidation_id)
        await _told(server, "LiquidationService.CloseLiquidation", close)
    await _told(server, CHECK, samples.check(samples.high_request()))


async def _begin(server: Running, request_id: str, lease: str = "60s", **request: Any) -> Any:
    body = samples.low_request(**request) | {"request_id": request_id, "lease_ttl": lease}
    message = ParseDict(body, claim_service_pb2.BeginClaimRequest())
    response = await _told(server, "ClaimService.BeginClaim", message)
    return None if response is None else response.claim


async def _change(server: Running, kind: str, claim: Any, **changes: Any) -> None:
    fields = {"claim_id": claim.claim_id, "fencing_token": claim.fencing_token} | changes
    message = getattr(claim_service_pb2, f"{kind}ClaimRequest")()
    await _told(server, f"ClaimService.{kind}Claim", ParseDict(fields, message))


async def _claims(server: Running) -> None:
    first = await _begin(server, "order-1")
    await _begin(server, "order-1")
    await _begin(server, "order-1", terms={"ratio_qty_request": "0.5"})
    await _begin(server, "order-2", terms={"liquidator_id": "liquidator-2"})
    await _begin(server, "order-3", lease="-1.5s")
    await _told(server, CHECK, samples.check(samples.low_request()))
    close = liquidation_service_pb2.CloseLiquidationRequest(liquidation_id=101)
    await _told(server, "LiquidationService.CloseLiquidation", close)
    await _change(server, "Renew", first, lease_ttl="90s")
    await _change(server, "Renew", first, lease_ttl="0.5s")
    await _change(server, "Complete", first, fencing_token=first.fencing_token + 1)
    await _change(server, "Complete", first)
    await _change(server, "Complete", first)
    await _change(server, "Cancel", first, reason="too late")
    await _change(server, "Cancel", first, claim_id="0" * 32)
    await _change(server, "Cancel", first, claim_id="")
    await _begin(server, "order-4")
    second = await _begin(server, "order-5", liquidation={"revision": 8})
    await _change(server, "Cancel", second, fencing_token=0, force=True, reason="gone")
    await _begin(server, "order-6", lease="1s", liquidation={"revision": 8})
    # The last of them tells that the lease ran out.
    assert (await server.lines("claim", count=18))[-1]["change"] == "expire"


async def _without_store(server: Running) -> None:
    def rename(old: str, new: str) -> None:
        connection = sqlite3.connect(server.log_file.parent / "store.db")
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rename("liquidation", "elsewhere")
    await _told(server, CHECK, samples.check(samples.low_request()))
    await _begin(server, "order-7")
    rename("elsewhere", "liquidation")
