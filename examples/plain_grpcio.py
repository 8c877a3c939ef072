"""Asks for a claim with grpcio alone, then asks again with the least ratio that passes.

Needs grpcio, googleapis-common-protos and the messages generated from proto/, which are in
liquidation.v1 here.

    python examples/plain_grpcio.py [ADDRESS]

ADDRESS is that of a running server, by default 127.0.0.1:50051. The snapshot travels in the
request, so nothing has to be stored before.
"""

import sys

import grpc
from google.rpc import status_pb2

from liquidation.v1 import errors_pb2, liquidation_pb2, rules_service_pb2

SNAPSHOT = liquidation_pb2.Liquidation(
    liquidation_id=101,
    account_id="account-1",
    tier=liquidation_pb2.TIER_LOW,
    revision=7,
    positions=[
        liquidation_pb2.Position(symbol="PERP_BTC_USDC", position_qty="0.5", mark_price="40000"),
        liquidation_pb2.Position(symbol="PERP_ETH_USDC", position_qty="-4", mark_price="2500"),
    ],
    margin_ratio="0.008",
    maintenance_margin_ratio="0.012",
)


def request(ratio: str) -> rules_service_pb2.CheckClaimRequest:
    """A claim on `ratio` of every position of the snapshot."""
    return rules_service_pb2.CheckClaimRequest(
        terms=liquidation_pb2.ClaimTerms(
            liquidation_id=101, liquidator_id="liquidator-1", ratio_qty_request=ratio
        ),
        liquidation=SNAPSHOT,
    )


def refusal_of(error: grpc.RpcError) -> errors_pb2.LiquidationError | None:
    """The exchange's form of a refusal; None if the error is not the service's own."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    for detail in status.details:
        refusal = errors_pb2.LiquidationError()
        if detail.Unpack(refusal):
            return refusal
    return None


def main(address: str) -> None:
    """Is refused with 0.3333 of the positions, and accepted with what the refusal names."""
    with grpc.insecure_channel(address) as channel:
        check_claim = channel.unary_unary(
            "/liquidation.v1.LiquidationRulesService/CheckClaim",
            request_serializer=rules_service_pb2.CheckClaimRequest.SerializeToString,
            response_deserializer=rules_service_pb2.CheckClaimResponse.FromString,
        )
        ratio = "0.3333"
        try:
            check_claim(request(ratio), timeout=1)
        except grpc.RpcError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            print(f"refused: {refusal.code} {refusal.name}: {refusal.message}")
            ratio = refusal.decision.least_req_ratio
        answer = check_claim(request(ratio), timeout=1)
        print(f"accepted: {ratio} of {answer.decision.total_notional} USDC")
        for position in answer.positions:
            print(f"  {position.symbol} {position.qty} worth {position.notional} USDC")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
