"""LiquidationRulesService: wire → desk → wire. It decides nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from liquidation.api import refusals, rpc, wire
from liquidation.api.desk import Admit, Answer, Asked, Desk, turn_of
from liquidation.api.door import Arrival, Door
from liquidation.api.failures import FAULT
from liquidation.api.guards import Admission
from liquidation.api.turns import Turns, TurnSize
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import Call
from liquidation.rules.model import FieldViolation, Tier
from liquidation.rules.numbers import plain
from liquidation.rules.policy import MAX_BATCH, RULE_NAMES, Mode, Policy
from liquidation.rules.texts import Sent
from liquidation.v1 import rules_service_pb2

__all__ = ["claim_result", "rules_in_force", "rules_service"]

_MODES: Final = {
    Mode.ENFORCE: rules_service_pb2.RULE_MODE_ENFORCE,
    Mode.SHADOW: rules_service_pb2.RULE_MODE_SHADOW,
    Mode.OFF: rules_service_pb2.RULE_MODE_OFF,
}


def rules_service(
    desk: Desk,
    in_force: Callable[[], Policy],
    door: Door,
    unfinished: rpc.Unfinished,
    calls: rpc.PlainCalls,
) -> rpc.Service:
    """The service, ready to be added to a server; `in_force` are the rules that it tells."""
    servicer = _RulesServicer(desk, in_force, door, unfinished)

    async def get_rules(_: rules_service_pb2.GetRulesRequest, __: Call) -> Message:
        return rules_in_force(in_force())

    return rpc.Service(
        rules_service_pb2.DESCRIPTOR.services_by_name["LiquidationRulesService"],
        unary={
            "CheckClaim": servicer.check_claim,
            "BatchCheckClaims": servicer.batch_check_claims,
            "ListErrorCodes": calls.unary(
                "ListErrorCodes", rules_service_pb2.ListErrorCodesRequest, _error_codes
            ),
            "GetRules": calls.unary("GetRules", rules_service_pb2.GetRulesRequest, get_rules),
        },
        stream={"StreamCheckClaims": servicer.stream_check_claims},
        shedding=calls.shedding,
    )


# The bytes of a CheckClaim, and how it came.
_Call = tuple[bytes, Arrival]


class _RulesServicer:
    def __init__(
        self,
        desk: Desk,
        in_force: Callable[[], Policy],
        door: Door,
        unfinished: rpc.Unfinished,
    ) -> None:
        self._desk = desk
        self._in_force = in_force
        self._door = door
        self._unfinished = unfinished
        size = TurnSize(time.monotonic_ns, time.thread_time_ns)
        self._turns = Turns(self._check_turn, size, unfinished.begin)

    async def check_claim(self, data: bytes, context: rpc.Context) -> bytes:
        arrival = self._door.arrive("CheckClaim", Permission.CHECK, context)
        response = b""
        try:
            answer = await self._turns.answer((data, arrival))
            if answer.verdict.accepted:
                response = wire.checked(answer.decision_id, answer.verdict).SerializeToString()
        except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
            answer = self._desk.fault(wire.unreadable(data), arrival.call, error)
        if not answer.verdict.accepted:
            return await self._refuse(context, arrival, answer)
        await self._door.leave(arrival.call, 0)
        return response

    async def _check_turn(self, turn: Sequence[_Call], gone: Sequence[bool]) -> list[Answer]:
        """The answers to some CheckClaims."""
        asked = []
        with ExitStack() as admissions:
            for (data, arrival), is_gone in zip(turn, gone, strict=True):
                admission = admissions.enter_context(self._door.guard.admit())
                sent, fault = self._request(data)
                admit = self._door.admits(arrival, admission)
                abandoned = is_gone or arrival.call.abandoned()
                asked.append(Asked(sent, arrival.call, admit, abandoned, fault))
            return await self._desk.check_together(asked)

    async def batch_check_claims(self, data: bytes, context: rpc.Context) -> bytes:
        arrival = self._door.arrive("BatchCheckClaims", Permission.CHECK, context)
        gone = asyncio.Event()
        with self._door.guard.admit() as admission:
            batch = self._batch(data, _until(gone, arrival), admission)
            work = self._unfinished.begin(batch)
            try:
                outcome = await asyncio.shield(work)
            except asyncio.CancelledError:
                # Its lines are still to be written, in turns: to write so many at once takes long.
                gone.set()
                self._unfinished.leave(work, len(data))
                raise
        if isinstance(outcome, Answer):
            return await self._refuse(context, arrival, outcome)
        await self._door.leave(arrival.call, 0)
        return outcome

    async def _batch(self, data: bytes, arrival: Arrival, admission: Admission) -> bytes | Answer:
        """The response, or the refusal of the whole."""
        try:
            return await self._check_batch(data, arrival, self._door.admits(arrival, admission))
        except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
            return self._desk.fault(wire.unreadable(data), arrival.call, error)

    async def _check_batch(self, data: bytes, arrival: Arrival, admit: Admit) -> bytes | Answer:
        call, waits = arrival.call, True
        if arrival.refusal is not None:
            return await self._desk.check(wire.unreadable(data), call, admit)
        if len(data) > _READ_AT_ONCE:
            try:
                await self._desk.turn()
            except asyncio.CancelledError:
                waits = False
        batch = self._door.parse(rules_service_pb2.BatchCheckClaimsRequest, data)
        if isinstance(batch, FieldViolation) or not 1 <= len(batch.requests) <= MAX_BATCH:
            violation = batch if isinstance(batch, FieldViolation) else _BATCH_SIZE
            return await self._desk.check(wire.unreadable(data, violation), call, admit)
        unknown = wire.unknown_fields(batch, deep=False)
        if unknown and self._in_force().mode("known_fields") is Mode.ENFORCE:
            sent = wire.unreadable(data, unknown_fields=unknown)
            return await self._desk.check(sent, call, admit)
        clean = not wire.unknown_fields(batch)
        requests = (_beside(unknown, wire.sent(each, clean=clean)) for each in batch.requests)
        many, size = len(batch.requests), turn_of(explained=any(r.explain for r in batch.requests))
        response = rules_service_pb2.BatchCheckClaimsResponse()
        async for answers in self._desk.check_all(requests, many, size, call, admit, waits=waits):
            # At once: a thousand answers are far more than the message that they become.
            for answer in answers:
                _fill_result(response.results.add(), answer)
        return response.SerializeToString()

    async def stream_check_claims(
        self, requests: AsyncIterator[bytes], context: rpc.Context
    ) -> AsyncIterator[bytes]:
        async for turn in self._door.turns(requests, context):
            # Each time anew: a key may be revoked while its stream is open.
            arrival = self._door.arrive("StreamCheckClaims", Permission.CHECK, context)
            if arrival.refusal is not None:
                answer = await self._check_one(wire.unreadable(turn[0]), arrival)
                await self._refuse(context, arrival, answer)
                return
            with self._door.guard.admit() as admission:
                responses = await self._answers(turn, arrival, admission)
            for response in responses:
                yield response.SerializeToString()

    async def _answers(
        self, turn: Sequence[bytes], arrival: Arrival, admission: Admission
    ) -> list[rules_service_pb2.StreamCheckClaimsResponse]:
        """The answers to one turn of a stream, in order."""
        admit = self._door.admits(arrival, admission)
        abandoned = arrival.call.abandoned()
        responses, asked = [], []
        for data in turn:
            correlation_id, sent, fault = self._item(data)
            asked.append(Asked(sent, arrival.call, admit, abandoned, fault))
            responses.append(
                rules_service_pb2.StreamCheckClaimsResponse(correlation_id=correlation_id)
            )
        answers = await self._desk.check_together(asked)
        for response, answer in zip(responses, answers, strict=True):
            _fill_result(response.result, answer)
        return responses

    async def _refuse(self, context: rpc.Context, arrival: Arrival, answer: Answer) -> bytes:
        refusal = answer.verdict.refusal or FAULT
        await self._door.leave(arrival.call, refusal.row.code)
        return rpc.refuse(context, refusal, wire.decision(answer.decision_id, answer.verdict))

    async def _check_one(self, sent: Sent, arrival: Arrival) -> Answer:
        with self._door.guard.admit() as admission:
            return await self._desk.check(sent, arrival.call, self._door.admits(arrival, admission))

    def _request(self, data: bytes) -> tuple[Sent, Exception | None]:
        """What a CheckClaim asks, and the fault of ours that reading it met."""
        try:
            request = self._door.parse(rules_service_pb2.CheckClaimRequest, data)
            if isinstance(request, FieldViolation):
                return wire.unreadable(data, request), None
            return wire.sent(request), None
        except Exception as error:  # noqa: BLE001 - a fault must not reach other calls
            return wire.unreadable(data), error

    def _item(self, data: bytes) -> tuple[str, Sent, Exception | None]:
        """An item's correlation id, and as `_request`."""
        try:
            item = self._door.parse(rules_service_pb2.StreamCheckClaimsRequest, data)
            if isinstance(item, FieldViolation):
                return "", wire.unreadable(data, item), None
            unknown = wire.unknown_fields(item, deep=False)
            return item.correlation_id, _beside(unknown, wire.sent(item.request)), None
        except Exception as error:  # noqa: BLE001 - a fault must not end the stream
            return "", wire.unreadable(data), error


# The bytes of a batch that is read before others get their turn.
_READ_AT_ONCE: Final = 1024
_BATCH_SIZE: Final = FieldViolation("requests", f"must have 1 to {MAX_BATCH} entries")


def _until(gone: asyncio.Event, arrival: Arrival) -> Arrival:
    """An arrival whose caller counts as gone from that event on too."""
    call = arrival.call
    return arrival._replace(call=call._replace(abandoned=lambda: gone.is_set() or call.abandoned()))


def _beside(unknown: tuple[str, ...], sent: Sent) -> Sent:
    """A request, with the fields beside it that the service does not know."""
    if not unknown:
        return sent
    return replace(sent, unknown_fields=(unknown + sent.unknown_fields)[: wire.MAX_UNKNOWN])


def claim_result(answer: Answer) -> rules_service_pb2.CheckClaimResult:
    """The answer to one claim, as one of a batch."""
    message = rules_service_pb2.CheckClaimResult()
    _fill_result(message, answer)
    return message


def _fill_result(message: rules_service_pb2.CheckClaimResult, answer: Answer) -> None:
    refusal = answer.verdict.refusal
    if refusal is None:
        wire.checked(answer.decision_id, answer.verdict, message.accepted)
    else:
        decision = wire.decision(answer.decision_id, answer.verdict)
        message.refused.CopyFrom(refusals.status(refusal, decision))


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
