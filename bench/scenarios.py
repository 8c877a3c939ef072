"""What is called, with which message, and what a right answer is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from liquidation.v1 import (
    claim_service_pb2,
    errors_pb2,
    liquidation_pb2,
    liquidation_service_pb2,
    rules_service_pb2,
)

__all__ = [
    "ACCEPTED",
    "PUT",
    "REFUSED",
    "REFUSED_CODE",
    "SCENARIOS",
    "Scenario",
    "check",
    "liquidation",
    "put_request",
    "put_stored",
    "verify",
]

RULES: Final = "/liquidation.v1.LiquidationRulesService"
PUT: Final = "/liquidation.v1.LiquidationService/PutLiquidation"
# Of a total notional of 30,000 against a threshold of 10,000.
ACCEPTED: Final = "0.5"
REFUSED: Final = "0.3333"
REFUSED_CODE: Final = -1201
# So long that no lease expires in the middle of a round.
LEASE_S: Final = 300

# No two claims of a run are on one account; 1 is the stored liquidation.
_CLAIMS: Final = count(2)


@dataclass(frozen=True)
class Scenario:
    """A method, its messages, and what is right.

    `code` is what the log has to say of each decision, `status` the gRPC status of each call.
    `window` is how many items a stream has under way, 0 for a unary call. `distinct`: each call
    needs a message of its own.
    """

    path: str
    message: Callable[[], bytes]
    is_right: Callable[[bytes], bool]
    code: int = 0
    status: int = 0
    decisions: int = 1
    window: int = 0
    distinct: bool = False


def liquidation(number: int) -> liquidation_pb2.Liquidation:
    """An open liquidation on tier LOW with two positions, as the exchange's example has."""
    position = liquidation_pb2.Position
    return liquidation_pb2.Liquidation(
        liquidation_id=number,
        account_id=f"account-{number}",
        tier=liquidation_pb2.TIER_LOW,
        positions=[
            position(symbol="PERP_BTC_USDC", position_qty="0.5", mark_price="40000"),
            position(symbol="PERP_ETH_USDC", position_qty="-4", mark_price="2500"),
        ],
        margin_ratio="0.008",
        maintenance_margin_ratio="0.012",
        revision=1,
    )


def _terms(number: int, ratio: str) -> liquidation_pb2.ClaimTerms:
    return liquidation_pb2.ClaimTerms(
        liquidation_id=number, liquidator_id="liquidator-1", ratio_qty_request=ratio
    )


def check(
    number: int = 1, ratio: str = ACCEPTED, *, explain: bool = False
) -> rules_service_pb2.CheckClaimRequest:
    """A check on a stored liquidation."""
    return rules_service_pb2.CheckClaimRequest(terms=_terms(number, ratio), explain=explain)


def _begin() -> bytes:
    number = next(_CLAIMS)
    return claim_service_pb2.BeginClaimRequest(
        request_id=f"claim-{number}",
        terms=_terms(number, ACCEPTED),
        liquidation=liquidation(number),
        lease_ttl=Duration(seconds=LEASE_S),
    ).SerializeToString()


def _is_begun(answer: bytes) -> bool:
    return claim_service_pb2.BeginClaimResponse.FromString(answer).decision.accepted


def _checked(*, explain: bool = False) -> Scenario:
    def is_right(answer: bytes) -> bool:
        decision = rules_service_pb2.CheckClaimResponse.FromString(answer).decision
        return decision.accepted and bool(decision.trace) is explain

    return Scenario(f"{RULES}/CheckClaim", check(explain=explain).SerializeToString, is_right)


def _is_refusal(details: bytes) -> bool:
    """Whether the status has the three details of the refusal, with its code."""
    told = status_pb2.Status.FromString(details)
    error = errors_pb2.LiquidationError()
    return (
        len(told.details) == 3
        and any(each.Unpack(error) for each in told.details)
        and error.code == REFUSED_CODE
    )


def _batch(size: int) -> Scenario:
    request = rules_service_pb2.BatchCheckClaimsRequest(requests=[check()] * size)

    def is_right(answer: bytes) -> bool:
        results = rules_service_pb2.BatchCheckClaimsResponse.FromString(answer).results
        return len(results) == size and all(each.accepted.decision.accepted for each in results)

    path = f"{RULES}/BatchCheckClaims"
    return Scenario(path, request.SerializeToString, is_right, decisions=size)


def _stream(window: int) -> Scenario:
    request = rules_service_pb2.StreamCheckClaimsRequest(correlation_id="item-1", request=check())

    def is_right(answer: bytes) -> bool:
        told = rules_service_pb2.StreamCheckClaimsResponse.FromString(answer)
        return told.result.accepted.decision.accepted

    path = f"{RULES}/StreamCheckClaims"
    return Scenario(path, request.SerializeToString, is_right, window=window)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "accepted": _checked(),
    "explained": _checked(explain=True),
    "refused": Scenario(
        f"{RULES}/CheckClaim",
        check(ratio=REFUSED).SerializeToString,
        _is_refusal,
        code=REFUSED_CODE,
        status=9,  # FAILED_PRECONDITION
    ),
    "batch of 100": _batch(100),
    "batch of 1000": _batch(1000),
    "stream of 128": _stream(128),
    "begin": Scenario("/liquidation.v1.ClaimService/BeginClaim", _begin, _is_begun, distinct=True),
}


def put_request() -> bytes:
    """Puts the one liquidation that the checks are about."""
    request = liquidation_service_pb2.PutLiquidationRequest(liquidation=liquidation(1))
    return request.SerializeToString()


def put_stored(address: str) -> None:
    """Stores the one liquidation that the checks are about."""
    with grpc.insecure_channel(address) as channel:
        put: Any = channel.unary_unary(PUT)
        put(put_request(), timeout=10)


def verify(address: str, scenario: Scenario) -> None:
    """Makes one call and looks at its answer, or at the details of its refusal.

    Raises:
        RuntimeError: it is not what the scenario says.
    """
    with grpc.insecure_channel(address) as channel:
        if scenario.window:
            call: Any = channel.stream_stream(scenario.path)
            answer = next(call(iter([scenario.message()]), timeout=10))
        else:
            answer = _answer(channel.unary_unary(scenario.path), scenario)
    if not scenario.is_right(answer):
        raise RuntimeError(f"{address}{scenario.path} answered {answer!r}")


def _answer(call: Any, scenario: Scenario) -> bytes:
    try:
        answer: bytes = call(scenario.message(), timeout=10)
    except grpc.RpcError as error:
        if not scenario.status:
            raise
        trailers: Any = error.trailing_metadata()
        return bytes(dict(trailers)["grpc-status-details-bin"])
    if scenario.status:
        raise RuntimeError(f"{scenario.path} accepted what has to be refused")
    return answer
