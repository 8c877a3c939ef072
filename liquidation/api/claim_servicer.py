"""ClaimService: wire → claims → wire. It decides nothing."""

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from liquidation.api import rpc, wire
from liquidation.api.claiming import BeginText, Claiming, Granted
from liquidation.api.claims import Claims
from liquidation.api.desk import Answer
from liquidation.api.door import Arrival, Door
from liquidation.api.failures import FAULT
from liquidation.api.register import refused_field
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import Call
from liquidation.rules.model import Claim, ClaimEvent, ClaimState, FieldViolation, Refusal
from liquidation.store.base import ClaimFilter
from liquidation.v1 import claim_service_pb2 as pb

__all__ = ["claim_message", "claim_service"]

_STATES: Final = {state.value: state for state in ClaimState}


def claim_service(
    claiming: Claiming,
    claims: Claims,
    door: Door,
    unfinished: rpc.Unfinished,
    calls: rpc.PlainCalls,
) -> rpc.Service:
    """The service, ready to be added to a server."""
    servicer = _ClaimServicer(claiming, claims, door, unfinished)
    return rpc.Service(
        pb.DESCRIPTOR.services_by_name["ClaimService"],
        unary={
            "BeginClaim": servicer.begin,
            "RenewClaim": calls.unary(
                "RenewClaim", pb.RenewClaimRequest, servicer.renew, servicer.refused("renew")
            ),
            "CompleteClaim": calls.unary(
                "CompleteClaim",
                pb.CompleteClaimRequest,
                servicer.complete,
                servicer.refused("complete"),
            ),
            "CancelClaim": calls.unary(
                "CancelClaim",
                pb.CancelClaimRequest,
                servicer.cancel,
                servicer.refused("cancel"),
                lambda request: Permission.CLAIMS_FORCE if request.force else None,
            ),
            "GetClaim": calls.unary("GetClaim", pb.GetClaimRequest, servicer.get),
            "ListClaims": calls.unary("ListClaims", pb.ListClaimsRequest, servicer.page),
        },
        stream={},
        shedding=calls.shedding,
    )


_Change = pb.RenewClaimRequest | pb.CompleteClaimRequest | pb.CancelClaimRequest


class _ClaimServicer:
    def __init__(
        self, claiming: Claiming, claims: Claims, door: Door, unfinished: rpc.Unfinished
    ) -> None:
        self._claiming = claiming
        self._claims = claims
        self._door = door
        self._unfinished = unfinished

    async def begin(self, data: bytes, context: rpc.Context) -> bytes:
        arrival = self._door.arrive("BeginClaim", Permission.CLAIMS, context)
        outcome = await self._unfinished.finish(self._begin(data, arrival))
        answer = outcome.answer if isinstance(outcome, Granted) else outcome
        decision = wire.decision(answer.decision_id, answer.verdict)
        if isinstance(outcome, Granted):
            await self._door.leave(arrival.call, 0)
            response = pb.BeginClaimResponse(claim=claim_message(outcome.claim), decision=decision)
            return response.SerializeToString()
        refusal = answer.verdict.refusal or FAULT
        await self._door.leave(arrival.call, refusal.row.code)
        return rpc.refuse(context, refusal, decision)

    async def _begin(self, data: bytes, arrival: Arrival) -> Granted | Answer:
        with self._door.guard.admit() as admission:
            try:
                begin = self._begin_text(data)
                admit = self._door.admits(arrival, admission)
                return await self._claiming.begin(begin, arrival.call, admit)
            except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
                unread = BeginText("", wire.unreadable(data), None)
                return self._claiming.fault(unread, arrival.call, error)

    def _begin_text(self, data: bytes) -> BeginText:
        request = self._door.parse(pb.BeginClaimRequest, data)
        if isinstance(request, FieldViolation):
            return BeginText("", wire.unreadable(data, request), None)
        return BeginText(request.request_id, wire.begin_sent(request), _lease(request))

    async def renew(self, request: pb.RenewClaimRequest, call: Call) -> Message:
        claim = await self._claims.renew(
            request.claim_id, request.fencing_token, _lease(request), call
        )
        return pb.RenewClaimResponse(claim=claim_message(claim))

    async def complete(self, request: pb.CompleteClaimRequest, call: Call) -> Message:
        claim = await self._claims.complete(request.claim_id, request.fencing_token, call)
        return pb.CompleteClaimResponse(claim=claim_message(claim))

    async def cancel(self, request: pb.CancelClaimRequest, call: Call) -> Message:
        claim = await self._claims.cancel(
            request.claim_id,
            request.fencing_token,
            request.reason,
            force=request.force,
            call=call,
        )
        return pb.CancelClaimResponse(claim=claim_message(claim))

    def refused(self, change: str) -> Callable[[_Change, Refusal, str, Call], None]:
        """What leaves the line of a change that was refused before it reached a claim."""

        def leave_line(request: _Change, refusal: Refusal, decision_id: str, call: Call) -> None:
            self._claims.refused_change(change, request.claim_id, refusal, decision_id, call)

        return leave_line

    async def get(self, request: pb.GetClaimRequest, _: Call) -> Message:
        claim, history = await self._claims.get(request.claim_id, request.request_id)
        return pb.GetClaimResponse(claim=claim_message(claim), history=map(_event, history))

    async def page(self, request: pb.ListClaimsRequest, _: Call) -> Message:
        state = _STATES.get(request.state)
        if state is None and request.state != pb.CLAIM_STATE_UNSPECIFIED:
            raise refused_field("state", "is not a known state")
        wanted = ClaimFilter(request.account_id, request.liquidation_id, state)
        below = rpc.key_of(request.page_token, "below") if request.page_token else None
        page = await self._claims.page(wanted, below, request.page_size)
        token = "" if page.next_below is None else rpc.page_token("below", page.next_below)
        return pb.ListClaimsResponse(claims=map(claim_message, page.claims), next_page_token=token)


def _lease(request: pb.BeginClaimRequest | pb.RenewClaimRequest) -> tuple[int, int] | None:
    if not request.HasField("lease_ttl"):
        return None
    return request.lease_ttl.seconds, request.lease_ttl.nanos


def claim_message(claim: Claim) -> pb.Claim:
    """A claim as it is told."""
    message = pb.Claim(
        claim_id=claim.claim_id,
        request_id=claim.request_id,
        account_id=claim.account_id,
        terms=wire.terms(claim.terms),
        liquidation_revision=claim.liquidation_revision,
        fencing_token=claim.fencing_token,
        state=f"CLAIM_STATE_{claim.state.name}",
        positions=map(wire.claimed_position, claim.positions),
        end_reason=claim.end_reason,
    )
    message.begin_time.FromMicroseconds(claim.begin_us)
    message.expire_time.FromMicroseconds(claim.expire_us)
    if claim.end_us is not None:
        message.end_time.FromMicroseconds(claim.end_us)
    return message


def _event(event: ClaimEvent) -> pb.ClaimEvent:
    message = pb.ClaimEvent(change=event.change, reason=event.reason, forced=event.forced)
    message.time.FromMicroseconds(event.time_us)
    message.expire_time.FromMicroseconds(event.expire_us)
    return message
