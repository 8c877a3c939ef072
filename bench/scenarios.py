"""What is called, with which messages, and what a right answer is."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from bench.claims import LEASE_S
from liquidation.v1 import (
    claim_service_pb2,
    errors_pb2,
    liquidation_pb2,
    liquidation_service_pb2,
    rules_service_pb2,
)

__all__ = ["SCENARIOS", "STORED", "Scenario", "put_stored", "verify"]

RULES: Final = "/liquidation.v1.LiquidationRulesService"
PUT: Final = "/liquidation.v1.LiquidationService/BatchPutLiquidations"
REFUSED: Final = "0.3333"
REFUSED_CODE: Final = -1201

# Liquidations that every deciding contestant has stored, numbered from 1.
STORED: Final = 1000
# No two claims of a run are on one account.
_CLAIMS: Final = count(STORED + 1)


@dataclass(frozen=True)
class Scenario:
    """A method and the messages it is called with, by a number that goes up.

    `window` is how many items a stream has under way; 0 is a unary call.
    """

    path: str
    message: Callable[[int], bytes]
    is_right: Callable[[bytes], bool]
    decisions: int = 1
    refused: bool = False
    window: int = 0
    # Whether the messages have to differ, which h2load's cannot.
    distinct: bool = False

    @property
    def code(self) -> int:
        """What the log has to say of each decision."""
        return REFUSED_CODE if self.refused else 0


def liquidation_of(number: int) -> liquidation_pb2.Liquidation:
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


def _check(
    number: int, *, ratio: str = "1", snapshot: bool = False, explain: bool = False
) -> rules_service_pb2.CheckClaimRequest:
    number = number % STORED + 1
    return rules_service_pb2.CheckClaimRequest(
        terms=_terms(number, ratio),
        liquidation=liquidation_of(number) if snapshot else None,
        explain=explain,
    )


def _terms(number: int, ratio: str = "1") -> liquidation_pb2.ClaimTerms:
    return liquidation_pb2.ClaimTerms(
        liquidation_id=number, liquidator_id="liquidator-1", ratio_qty_request=ratio
    )


def _begin(_number: int) -> bytes:
    number = next(_CLAIMS)
    return claim_service_pb2.BeginClaimRequest(
        request_id=f"claim-{number}",
        terms=_terms(number),
        liquidation=liquidation_of(number),
        lease_ttl=Duration(seconds=LEASE_S),
    ).SerializeToString()


def _is_begun(answer: bytes) -> bool:
    return claim_service_pb2.BeginClaimResponse.FromString(answer).decision.accepted


def _checked(*, refused: bool = False, **how: Any) -> Scenario:
    if refused:
        how["ratio"] = REFUSED
    return Scenario(
        f"{RULES}/CheckClaim",
        lambda number: _check(number, **how).SerializeToString(),
        _is_refusal if refused else _is_acceptance,
        refused=refused,
    )


def _is_acceptance(answer: bytes) -> bool:
    return rules_service_pb2.CheckClaimResponse.FromString(answer).decision.accepted


def _is_refusal(details: bytes) -> bool:
    """Whether the status carries the details of the refusal: three of them, with its code."""
    told = status_pb2.Status.FromString(details)
    error = errors_pb2.LiquidationError()
    return (
        len(told.details) == 3
        and any(each.Unpack(error) for each in told.details)
        and error.code == REFUSED_CODE
    )


def _batch(size: int) -> Scenario:
    def message(number: int) -> bytes:
        checks = [_check(number + item) for item in range(size)]
        return rules_service_pb2.BatchCheckClaimsRequest(requests=checks).SerializeToString()

    def is_right(answer: bytes) -> bool:
        results = rules_service_pb2.BatchCheckClaimsResponse.FromString(answer).results
        return len(results) == size and all(each.accepted.decision.accepted for each in results)

    return Scenario(f"{RULES}/BatchCheckClaims", message, is_right, decisions=size)


def _stream(window: int) -> Scenario:
    def message(number: int) -> bytes:
        return rules_service_pb2.StreamCheckClaimsRequest(
            correlation_id=f"item-{number}", request=_check(number)
        ).SerializeToString()

    def is_right(answer: bytes) -> bool:
        told = rules_service_pb2.StreamCheckClaimsResponse.FromString(answer)
        return told.result.accepted.decision.accepted

    return Scenario(f"{RULES}/StreamCheckClaims", message, is_right, window=window, distinct=True)


SCENARIOS: Final = {
    "accepted": _checked(),
    "accepted, explained": _checked(explain=True),
    "accepted, snapshot": _checked(snapshot=True),
    "accepted, snapshot, explained": _checked(snapshot=True, explain=True),
    "refused": _checked(refused=True),
    "refused, explained": _checked(refused=True, explain=True),
    **{f"batch of {size}": _batch(size) for size in (1, 10, 100, 1000)},
    "stream of 128": _stream(128),
    "stream, ping-pong": _stream(1),
    "begin": Scenario("/liquidation.v1.ClaimService/BeginClaim", _begin, _is_begun, distinct=True),
}


def put_stored(address: str) -> None:
    """Stores the liquidations that the checks are about."""
    puts = [
        liquidation_service_pb2.PutLiquidationRequest(liquidation=liquidation_of(number))
        for number in range(1, STORED + 1)
    ]
    request = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=puts)
    with grpc.insecure_channel(address) as channel:
        put_all: Any = channel.unary_unary(PUT)
        try:
            put_all(request.SerializeToString())
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            put: Any = channel.unary_unary("/liquidation.v1.LiquidationService/PutLiquidation")
            for each in puts:
                put(each.SerializeToString())


def verify(address: str, scenario: Scenario) -> None:
    """Makes one call and looks at its answer, or at the details of its refusal."""
    with grpc.insecure_channel(address) as channel:
        if scenario.window:
            stream: Any = channel.stream_stream(scenario.path)
            answer = next(stream(iter([scenario.message(0)])))
        else:
            answer = _answer(channel.unary_unary(scenario.path), scenario)
    if not scenario.is_right(answer):
        raise RuntimeError(f"{address}{scenario.path} answered {answer!r}")


def _answer(call: Any, scenario: Scenario) -> bytes:
    try:
        answer: bytes = call(scenario.message(0), timeout=10)
    except grpc.RpcError as error:
        if not scenario.refused:
            raise
        trailing: Any = error.trailing_metadata()
        details: bytes = dict(trailing)["grpc-status-details-bin"]
        return details
    if scenario.refused:
        raise RuntimeError(f"{scenario.path} accepted what has to be refused")
    return answer
