"""Answers and claims as JSON objects, for programs."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from liquidation.cli.answering import Answered
from liquidation.client import LiquidationRefused
from liquidation.client.convert import message_of
from liquidation.v1 import claim_service_pb2, liquidation_pb2
from liquidation.values import Claim, ClaimRecord, Decision

__all__ = ["claim_json", "claim_record_json", "proto_json", "record"]


def proto_json(message_type: type[Message], value: Any) -> Any:
    """The protobuf JSON of the message that says `value`, with proto field names."""
    return MessageToDict(message_of(message_type, value), preserving_proto_field_name=True)


def claim_json(claim: Claim) -> dict[str, Any]:
    """A claim as protobuf JSON."""
    told: dict[str, Any] = proto_json(claim_service_pb2.Claim, claim)
    return _in_order(told)


def claim_record_json(found: ClaimRecord) -> dict[str, Any]:
    """A claim with its history, as the protobuf JSON of a GetClaimResponse."""
    told: dict[str, Any] = proto_json(claim_service_pb2.GetClaimResponse, found)
    _in_order(told["claim"])
    return told


def _in_order(claim: dict[str, Any]) -> dict[str, Any]:
    """With limit prices by symbol: a map of a message has no order."""
    if "limit_price" in claim["terms"]:
        claim["terms"]["limit_price"] = dict(sorted(claim["terms"]["limit_price"].items()))
    return claim


def record(each: Answered) -> dict[str, Any]:
    """What became of a line; `error` alone where it holds no request."""
    answer = each.answer
    if answer is None:
        return {"line": each.line.number, "error": each.line.problem}
    decision = None
    if answer.decision is not None:
        decision = _decision(answer.decision)
    if isinstance(answer, LiquidationRefused):
        return {
            "line": each.line.number,
            "accepted": False,
            "code": answer.code,
            "name": answer.name,
            "message": answer.message,
            "rule": answer.rule,
            "decision": decision,
            "positions": [],
            "details": _details(answer),
        }
    return {
        "line": each.line.number,
        "accepted": True,
        "code": 0,
        "name": "",
        "message": "",
        "rule": "",
        "decision": decision,
        "positions": [
            proto_json(liquidation_pb2.ClaimedPosition, position) for position in answer.positions
        ],
    }


def _decision(decision: Decision) -> Any:
    """With facts by name: a map of a message has no order."""
    told = proto_json(liquidation_pb2.Decision, decision)
    for result in told.get("trace", ()):
        if "facts" in result:
            result["facts"] = dict(sorted(result["facts"].items()))
    return told


def _details(refused: LiquidationRefused) -> dict[str, Any]:
    retry_after = None
    if refused.retry_after is not None:
        wait = Duration()
        wait.FromTimedelta(refused.retry_after)
        retry_after = wait.ToJsonString()
    return {
        "http_status": refused.http_status,
        "grpc_code": refused.grpc_code.name,
        "metadata": dict(refused.metadata),
        "field_violations": [
            {"field": each.field, "description": each.description}
            for each in refused.field_violations
        ],
        "retry_after": retry_after,
    }
