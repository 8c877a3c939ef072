"""LiquidationRulesService: wire → desk → wire. It decides nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from liquidation.core.keys import Permission
from liquidation.core.model import Defect, Tier
from liquidation.core.numbers import plain
from liquidation.core.policy import MAX_BATCH, RULE_NAMES, Mode, Policy
from liquidation.core.texts import Sent
from liquidation.desk import Answer, Desk
from liquidation.failures import FAULT
from liquidation.logs.lines import Call
from liquidation.service import refusals, rpc, wire
from liquidation.service.door import Arrival, Door
from liquidation.v1 import rules_service_pb2

__all__ = ["claim_result", "rules_in_force", "rules_service"]

_MODES: Final = {
    Mode.ENFORCE: rules_service_pb2.RULE_MODE_ENFORCE,
    Mode.SHADOW: rules_service_pb2.RULE_MODE_SHADOW,
    Mode.OFF: rules_service_pb2.RULE_MODE_OFF,
}


def rules_service(
    desk: Desk, in_force: Callable[[], Policy], door: Door, calls: rpc.PlainCalls
) -> rpc.Service:
    """The service, ready to be added to a server; `in_force` are the rules that it tells."""
    servicer = _RulesServicer(desk, door)

    async def get_rules(_: rules_service_pb2.GetRulesRequest, __: Call) -> Message:
        return rules_in_force(in_force())

    return rpc.Service(
        rules_service_pb2.DESCRIPTOR.services_by_name["LiquidationRulesService"],
        unary={
            "CheckClaim": servicer.unary("CheckClaim", servicer.check_claim),
            "BatchCheckClaims": servicer.unary("BatchCheckClaims", servicer.batch_check_claims),
            "ListErrorCodes": calls.unary(
                "ListErrorCodes", rules_service_pb2.ListErrorCodesRequest, _error_codes
            ),
            "GetRules": calls.unary("GetRules", rules_service_pb2.GetRulesRequest, get_rules),
        },
        stream={"StreamCheckClaims": servicer.stream_check_claims},
    )


class _RulesServicer:
    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk = desk
        self._door = door

    def unary(
        self, name: str, behaviour: Callable[[bytes, Arrival], Awaitable[Message | Answer]]
    ) -> rpc.Unary:
        """A handler that sends the message that `behaviour` gives, or the refusal."""

        async def handle(data: bytes, context: rpc.Context) -> bytes:
            arrival = self._door.arrive(name, Permission.CHECK, context)
            try:
                outcome = await behaviour(data, arrival)
            except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
                outcome = self._desk.fault(wire.unreadable(data), arrival.call, error)
            if isinstance(outcome, Message):
                await self._door.leave(arrival.call, 0)
                return outcome.SerializeToString()
            return await self._refuse(context, arrival, outcome)

        return handle

    async def check_claim(self, data: bytes, arrival: Arrival) -> Message | Answer:
        request = self._door.parse(rules_service_pb2.CheckClaimRequest, data)
        answer = await self._check_one(_sent(request, data), arrival)
        if answer.verdict.accepted:
            return wire.checked(answer.decision_id, answer.verdict)
        return answer

    async def batch_check_claims(self, data: bytes, arrival: Arrival) -> Message | Answer:
        if arrival.refusal is not None:
            return await self._check_one(wire.unreadable(data), arrival)
        batch = self._door.parse(rules_service_pb2.BatchCheckClaimsRequest, data)
        if isinstance(batch, Defect) or not 1 <= len(batch.requests) <= MAX_BATCH:
            defect = batch if isinstance(batch, Defect) else _BATCH_SIZE
            return await self._check_one(wire.unreadable(data, defect), arrival)
        if unknown := wire.unknown_fields(batch, deep=False):
            return await self._check_one(wire.unreadable(data, unknown_fields=unknown), arrival)
        with self._door.guard.admit() as admission:
            answers = await self._desk.check_all(
                [wire.sent(each) for each in batch.requests],
                arrival.call,
                self._door.admits(arrival, admission),
            )
        return rules_service_pb2.BatchCheckClaimsResponse(results=map(claim_result, answers))

    async def stream_check_claims(
        self, requests: AsyncIterator[bytes], context: rpc.Context
    ) -> AsyncIterator[bytes]:
        with self._door.guard.admit() as admission:
            async for data in self._door.items(requests, context):
                # Each time anew: a key may be revoked while its stream is open.
                arrival = self._door.arrive("StreamCheckClaims", Permission.CHECK, context)
                correlation_id = ""
                admission.ask()
                try:
                    correlation_id, sent = self._item(data)
                    admit = self._door.admits(arrival, admission)
                    answer = await self._desk.check(sent, arrival.call, admit)
                except Exception as error:  # noqa: BLE001 - a fault must not end the stream
                    answer = self._desk.fault(wire.unreadable(data), arrival.call, error)
                if arrival.refusal is not None:
                    await self._refuse(context, arrival, answer)
                    return
                yield rules_service_pb2.StreamCheckClaimsResponse(
                    correlation_id=correlation_id, result=claim_result(answer)
                ).SerializeToString()

    async def _refuse(self, context: rpc.Context, arrival: Arrival, answer: Answer) -> bytes:
        refusal = answer.verdict.refusal or FAULT
        await self._door.leave(arrival.call, refusal.row.code)
        return rpc.refuse(context, refusal, wire.decision(answer.decision_id, answer.verdict))

    async def _check_one(self, sent: Sent, arrival: Arrival) -> Answer:
        with self._door.guard.admit() as admission:
            return await self._desk.check(sent, arrival.call, self._door.admits(arrival, admission))

    def _item(self, data: bytes) -> tuple[str, Sent]:
        item = self._door.parse(rules_service_pb2.StreamCheckClaimsRequest, data)
        if isinstance(item, Defect):
            return "", wire.unreadable(data, item)
        sent = wire.sent(item.request)
        if unknown := wire.unknown_fields(item, deep=False):
            sent = replace(sent, unknown_fields=unknown + sent.unknown_fields)
        return item.correlation_id, sent


_BATCH_SIZE: Final = Defect("requests", f"must have 1 to {MAX_BATCH} entries")


def _sent(request: rules_service_pb2.CheckClaimRequest | Defect, data: bytes) -> Sent:
    return wire.unreadable(data, request) if isinstance(request, Defect) else wire.sent(request)


def claim_result(answer: Answer) -> rules_service_pb2.CheckClaimResult:
    """The answer to one claim of a batch or a stream."""
    if answer.verdict.refusal is None:
        accepted = wire.checked(answer.decision_id, answer.verdict)
        return rules_service_pb2.CheckClaimResult(accepted=accepted)
    decision = wire.decision(answer.decision_id, answer.verdict)
    refused = refusals.status(answer.verdict.refusal, decision)
    return rules_service_pb2.CheckClaimResult(refused=refused)


async def _error_codes(_: rules_service_pb2.ListErrorCodesRequest, __: Call) -> Message:
    return refusals.error_codes()


def rules_in_force(policy: Policy) -> rules_service_pb2.GetRulesResponse:
    """The policy as it is told: every rule with its mode, thresholds and limits."""
    return rules_service_pb2.GetRulesResponse(
        version=policy.version,
        tiers=[
            rules_service_pb2.TierRules(
                tier=f"TIER_{tier.name}",
                min_claim_notional=plain(policy.min_claim_notional[tier]),
            )
            for tier in Tier
        ],
        rules=[
            rules_service_pb2.RuleInForce(rule=name, mode=_MODES[policy.mode(name)])
            for name in RULE_NAMES
        ],
        default_lease_ttl=Duration(seconds=policy.claims.default_lease_ttl_s),
        claim_retention=Duration(seconds=policy.claims.retention_s),
        max_request_bytes=policy.limits.max_request_bytes,
        max_concurrent_calls=policy.limits.max_concurrent_calls,
        liquidator_requests_per_second=policy.limits.liquidator_requests_per_second,
    )
