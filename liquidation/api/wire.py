"""Messages to values and back. Nothing is decided here."""

import base64
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import DecodeError, Message

from liquidation.api.unknown import MAX_UNKNOWN, unknown_fields
from liquidation.rules.model import (
    ClaimedPosition,
    Decision,
    FieldViolation,
    Liquidation,
    MarginAccount,
    MarginPosition,
    Outcome,
    RuleResult,
    Terms,
)
from liquidation.rules.numbers import Ratio, plain
from liquidation.rules.record import Record
from liquidation.rules.texts import LiquidatorText, RequestText, Sent, SnapshotText
from liquidation.v1 import claim_service_pb2, liquidation_pb2, rules_service_pb2

__all__ = [
    "MAX_UNKNOWN",
    "begin_sent",
    "checked",
    "claimed_position",
    "decision",
    "liquidation",
    "parse",
    "sent",
    "snapshot_text",
    "terms",
    "unknown_fields",
    "unreadable",
]

# Bytes up to which a request that is not well formed is logged as it came.
_MAX_LOGGED: Final = 16 * 1024
# Bytes that are logged of a larger one, or of one that is no message at all.
_MAX_HEAD: Final = 256

_OUTCOMES: Final[Mapping[Outcome, Any]] = {
    outcome: liquidation_pb2.RuleOutcome.Value(f"RULE_OUTCOME_{outcome.name}")
    for outcome in Outcome
}

_M = TypeVar("_M", bound=Message)


def parse(message_type: type[_M], data: bytes, largest: int) -> _M | FieldViolation:
    """The message that `data` holds, or why it holds none of at most `largest` bytes."""
    if len(data) > largest:
        return FieldViolation("request", f"must have at most {largest} bytes, has {len(data)}")
    try:
        return message_type.FromString(data)
    except DecodeError:
        return FieldViolation("request", f"is not a {message_type.DESCRIPTOR.full_name} message")


def unreadable(
    data: bytes, *violations: FieldViolation, unknown_fields: tuple[str, ...] = ()
) -> Sent:
    """Bytes that are not read as a request, and why."""
    return Sent(None, lambda: _head(data), violations, unknown_fields)


def sent(request: rules_service_pb2.CheckClaimRequest, *, clean: bool = False) -> Sent:
    """A request for a check, with what of it the service does not know.

    With `clean` it is known that there is nothing of that kind.
    """
    unknown = () if clean else unknown_fields(request)
    return _sent(request, unknown, explain=request.explain)


def begin_sent(request: claim_service_pb2.BeginClaimRequest) -> Sent:
    """The claim that is to begin, with what of the request the service does not know."""
    return _sent(request, unknown_fields(request), explain=False)


def _sent(
    request: rules_service_pb2.CheckClaimRequest | claim_service_pb2.BeginClaimRequest,
    unknown: tuple[str, ...],
    *,
    explain: bool,
) -> Sent:
    snapshot = liquidator = None
    if request.HasField("liquidation"):
        snapshot = snapshot_text(request.liquidation)
    if request.HasField("liquidator"):
        account = request.liquidator.account if request.liquidator.HasField("account") else None
        liquidator = LiquidatorText(request.liquidator.liquidator_id, account)
    text = RequestText(request.terms, snapshot, liquidator)
    return Sent(text, lambda: _as_sent(request), unknown_fields=unknown, explain=explain)


def snapshot_text(message: liquidation_pb2.Liquidation) -> SnapshotText:
    """A snapshot's texts; what is absent is None."""
    account = message.account if message.HasField("account") else None
    time = None
    if message.HasField("snapshot_time"):
        time = (message.snapshot_time.seconds, message.snapshot_time.nanos)
    return SnapshotText(message, account, time)


def _as_sent(request: Message) -> Record:
    data = request.SerializeToString()
    if len(data) > _MAX_LOGGED:
        return _head(data)
    try:
        return MessageToDict(request, preserving_proto_field_name=True)
    except (ValueError, SerializeToJsonError):
        # A time that is none has no JSON form.
        return _head(data)


def _head(data: bytes) -> Record:
    return {"bytes": len(data), "head_base64": base64.b64encode(data[:_MAX_HEAD]).decode()}


def checked(
    decision_id: str, verdict: Decision, message: rules_service_pb2.CheckClaimResponse | None = None
) -> rules_service_pb2.CheckClaimResponse:
    """The answer to a claim that is accepted, in `message` where it is part of another."""
    # Filled in where it is to be, a message is not copied: half the time of its constructors.
    response = rules_service_pb2.CheckClaimResponse() if message is None else message
    _fill_decision(response.decision, decision_id, verdict)
    for each in verdict.positions:
        _fill_position(response.positions.add(), each)
    return response


def decision(decision_id: str, verdict: Decision) -> liquidation_pb2.Decision:
    """A verdict as it is told."""
    message = liquidation_pb2.Decision()
    _fill_decision(message, decision_id, verdict)
    return message


def _fill_decision(message: liquidation_pb2.Decision, decision_id: str, verdict: Decision) -> None:
    refusal = verdict.refusal
    message.decision_id = decision_id
    if refusal is None:
        message.accepted = True
    else:
        message.rule = refusal.rule
    message.total_notional = _number(verdict.total_notional)
    message.least_req_ratio = _number(verdict.least_req_ratio)
    message.margin_ratio = _number(verdict.margin_ratio)
    message.maintenance_margin_ratio = _number(verdict.maintenance_margin_ratio)
    message.liquidation_revision = verdict.liquidation_revision
    message.rules_version = verdict.rules_version
    for result in verdict.trace:
        _fill_result(message.trace.add(), result)


def _fill_result(message: liquidation_pb2.RuleResult, result: RuleResult) -> None:
    message.rule = result.rule
    message.outcome = _OUTCOMES[result.outcome]
    if result.refusal is not None:
        message.code = result.refusal.row.code
        message.message = result.refusal.message
    for name, fact in result.facts.items():
        message.facts[name] = fact


def claimed_position(position: ClaimedPosition) -> liquidation_pb2.ClaimedPosition:
    """What a claim takes of one position."""
    message = liquidation_pb2.ClaimedPosition()
    _fill_position(message, position)
    return message


def _fill_position(message: liquidation_pb2.ClaimedPosition, position: ClaimedPosition) -> None:
    message.symbol = position.symbol
    message.qty = plain(position.qty)
    message.max_qty = plain(position.max_qty)
    message.notional = plain(position.notional)


def terms(value: Terms) -> liquidation_pb2.ClaimTerms:
    """Terms, as a claim keeps them."""
    return liquidation_pb2.ClaimTerms(
        liquidation_id=value.liquidation_id,
        liquidator_id=value.liquidator_id,
        ratio_qty_request=_number(value.ratio_qty_request),
        extra_liquidation_ratio=plain(value.extra_liquidation_ratio),
        symbols=[
            liquidation_pb2.SymbolRatio(
                symbol=each.symbol, ratio_qty_request=plain(each.ratio_qty_request)
            )
            for each in value.symbols
        ],
        limit_price={symbol: plain(price) for symbol, price in value.limit_price.items()},
    )


def liquidation(value: Liquidation) -> liquidation_pb2.Liquidation:
    """A stored snapshot, such that it can be put again as it is."""
    message = liquidation_pb2.Liquidation(
        liquidation_id=value.liquidation_id,
        account_id=value.account_id,
        tier=f"TIER_{value.tier.name}",
        positions=[
            liquidation_pb2.Position(
                symbol=each.symbol,
                position_qty=plain(each.position_qty),
                mark_price=plain(each.mark_price),
            )
            for each in value.positions
        ],
        revision=value.revision,
    )
    if value.snapshot_time_ns is not None:
        message.snapshot_time.FromNanoseconds(value.snapshot_time_ns)
    if value.account is None:
        message.margin_ratio = plain(value.margin_ratio)
        message.maintenance_margin_ratio = plain(value.maintenance_margin_ratio)
    else:
        message.account.CopyFrom(_account(value.account))
    return message


def _account(account: MarginAccount) -> liquidation_pb2.MarginAccount:
    return liquidation_pb2.MarginAccount(
        collateral_value=plain(account.collateral_value),
        positions=[_margin_position(each) for each in account.positions],
        max_leverage=_number(account.max_leverage),
    )


def _margin_position(position: MarginPosition) -> liquidation_pb2.MarginPosition:
    return liquidation_pb2.MarginPosition(
        symbol=position.symbol,
        position_qty=plain(position.position_qty),
        mark_price=plain(position.mark_price),
        base_mmr=_number(position.base_mmr),
        base_imr=plain(position.base_imr),
        imr_factor=plain(position.imr_factor),
    )


def _number(number: Ratio | None) -> str:
    return "" if number is None else plain(number)
