"""Calls of every kind that ask the store, for tests in which it does not answer."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.transport.health import PROBLEM_KEY
from liquidation.v1 import claim_service_pb2 as pb
from liquidation.v1 import liquidation_service_pb2
from tests import samples
from tests.service.test_claims import begin_request, token_of
from tests.sidecars import Running, health

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
PASSWORD: Final = "a-word-that-nobody-may-see"


def asked(number: int) -> dict[str, Any]:
    """What names liquidation `number` of an account of its own."""
    return {
        "terms": {"liquidation_id": number},
        "liquidation": {"liquidation_id": number, "account_id": f"account-{number}"},
    }


async def begin(server: Running, request_id: str, number: int) -> pb.Claim:
    response = await server.call(
        "ClaimService.BeginClaim", begin_request(request_id, **asked(number))
    )
    claim: pb.Claim = response.claim
    return claim


def calls(server: Running, claim: pb.Claim) -> list[Callable[[], Awaitable[Any]]]:
    """A call of each kind that asks the store."""
    token = token_of(claim)
    sound = samples.check(samples.low_request())
    snapshot = samples.snapshot(samples.low(liquidation_id=77, account_id="account-77"))
    requests = {
        "LiquidationRulesService.CheckClaim": sound,
        "ClaimService.BeginClaim": begin_request("another", **asked(55)),
        "ClaimService.RenewClaim": pb.RenewClaimRequest(**token),
        "ClaimService.GetClaim": pb.GetClaimRequest(request_id="r-1"),
        "ClaimService.ListClaims": pb.ListClaimsRequest(),
        "LiquidationService.PutLiquidation": liquidation_service_pb2.PutLiquidationRequest(
            liquidation=snapshot
        ),
        "LiquidationService.GetLiquidation": liquidation_service_pb2.GetLiquidationRequest(
            liquidation_id=88
        ),
        "LiquidationService.CloseLiquidation": liquidation_service_pb2.CloseLiquidationRequest(
            liquidation_id=88
        ),
        "ClaimService.CompleteClaim": pb.CompleteClaimRequest(**token),
    }

    def one(name: str, request: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: server.call(name, request)

    return [one(name, request) for name, request in requests.items()]


async def known(server: Running) -> pb.Claim:
    """A claim that is granted as r-1, and liquidation 88, which nobody claims."""
    snapshot = samples.snapshot(samples.low(liquidation_id=88, account_id="account-88"))
    await server.call(
        "LiquidationService.PutLiquidation",
        liquidation_service_pb2.PutLiquidationRequest(liquidation=snapshot),
    )
    return await begin(server, "r-1", 1)


async def problems(server: Running) -> list[str]:
    """What a health check says is wrong."""
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    call = stub.Check(health_pb2.HealthCheckRequest())
    await call
    return [value for key, value in await call.trailing_metadata() if key == PROBLEM_KEY]


async def until(server: Running, status: int) -> None:
    """Returns once the health of a sidecar is `status`."""
    watch = health(server.channel, "")
    async for response in watch:
        if response.status == status:
            break
    # A watch that nobody reads would be told of the end too, and waited for.
    watch.cancel()
