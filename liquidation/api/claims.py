"""ClaimService: holds the in-progress state. Claims are granted by `begin`, and changed here.

The store holds the promises; `rules.leases` says what is refused and why. Every call that asks for
a change writes one `claim` line, and so does every lease that runs out.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from google.protobuf.message import Message

from liquidation.api.begin import BeginHandler, lease_of
from liquidation.api.calls import (
    FAULT,
    Chunks,
    RefusedError,
    UnaryCalls,
    ask,
    chunked,
    key_of,
    page_rows,
    page_token,
    refused_field,
    require_id,
)
from liquidation.api.convert import fill_claim, fill_event
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import leases
from liquidation.rules.model import Claim, ClaimState, FieldViolation, Refusal
from liquidation.rules.parse import MAX_ID
from liquidation.rules.policy import ActivePolicy
from liquidation.rules.record import Record
from liquidation.store.base import ChangeResult, ClaimFilter, ClaimRecord, Done, Store
from liquidation.transport.base import Call, Handler, Unary
from liquidation.v1 import claim_service_pb2 as pb

# Characters of a reason that is kept; inclusive.
_MAX_REASON: Final = 256
_STATES: Final = {state.value: state for state in ClaimState}

_Change = pb.RenewClaimRequest | pb.CompleteClaimRequest | pb.CancelClaimRequest


class ClaimHandlers:
    """The handlers of ClaimService."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], ActivePolicy],
        log: DecisionLog,
        calls: UnaryCalls,
        new_id: Callable[[], str],
        begin: BeginHandler,
    ) -> None:
        self._store = store
        self._rules = rules
        self._log = log
        self._new_id = new_id
        self.handlers: Mapping[str, Handler] = {
            "BeginClaim": Unary(begin.handle),
            "RenewClaim": calls.unary(pb.RenewClaimRequest, self._renew, self._refused("renew")),
            "CompleteClaim": calls.unary(
                pb.CompleteClaimRequest, self._complete, self._refused("complete")
            ),
            "CancelClaim": calls.unary(
                pb.CancelClaimRequest,
                self._cancel,
                self._refused("cancel"),
                lambda request: Permission.CLAIMS_FORCE if request.force else None,
            ),
            "GetClaim": calls.unary(pb.GetClaimRequest, self._get),
            "ListClaims": calls.unary(pb.ListClaimsRequest, self._list),
        }

    def _renew(self, request: pb.RenewClaimRequest, info: CallInfo, call: Call) -> Chunks[Message]:
        claim_id, token, lease = request.claim_id, request.fencing_token, lease_of(request)
        require_id(claim_id, "claim_id", *leases.lease_violations(lease))
        lease_us = leases.lease_us(lease, self._rules().policy.claims.default_lease_ttl_s)
        result = yield from ask(call, partial(self._store.renew, claim_id, token, lease_us))
        asked = {"claim_id": claim_id, "fencing_token": str(token), "lease_us": lease_us}
        claim = self._changed("renew", result, token, ClaimState.ACTIVE, asked, info)
        return _filled(pb.RenewClaimResponse(), claim)

    def _complete(
        self, request: pb.CompleteClaimRequest, info: CallInfo, call: Call
    ) -> Chunks[Message]:
        claim_id, token = request.claim_id, request.fencing_token
        require_id(claim_id, "claim_id")
        end = partial(self._store.end, claim_id, token, ClaimState.COMPLETED, "")
        result = yield from ask(call, end)
        asked = {"claim_id": claim_id, "fencing_token": str(token)}
        claim = self._changed("complete", result, token, ClaimState.COMPLETED, asked, info)
        return _filled(pb.CompleteClaimResponse(), claim)

    def _cancel(
        self, request: pb.CancelClaimRequest, info: CallInfo, call: Call
    ) -> Chunks[Message]:
        claim_id, reason, force = request.claim_id, request.reason, request.force
        require_id(claim_id, "claim_id", *_reason_violations(reason))
        # An operator needs no token.
        token = None if force else request.fencing_token
        end = partial(self._store.end, claim_id, token, ClaimState.CANCELLED, reason)
        result = yield from ask(call, end)
        asked = {
            "claim_id": claim_id,
            "fencing_token": str(request.fencing_token),
            "reason": reason,
            "force": force,
        }
        claim = self._changed("cancel", result, token, ClaimState.CANCELLED, asked, info)
        return _filled(pb.CancelClaimResponse(), claim)

    def _get(self, request: pb.GetClaimRequest, _: CallInfo, call: Call) -> Chunks[Message]:
        claim_id, request_id = request.claim_id, request.request_id
        if bool(claim_id) is bool(request_id):
            raise refused_field("claim_id", "must be given, or request_id, and not both")
        field, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        require_id(value, field)

        def find(done: Done[ClaimRecord | None]) -> None:
            self._store.claim(claim_id=claim_id, request_id=request_id, done=done)

        record = yield from ask(call, find)
        if record is None:
            raise RefusedError(leases.claim_not_found(field, value))
        response = pb.GetClaimResponse()
        fill_claim(response.claim, record.claim)
        for event in record.history:
            fill_event(response.history.add(), event)
        return response

    def _list(self, request: pb.ListClaimsRequest, _: CallInfo, call: Call) -> Chunks[Message]:
        state = _STATES.get(request.state)
        if state is None and request.state != pb.CLAIM_STATE_UNSPECIFIED:
            raise refused_field("state", "is not a known state")
        below = key_of(request.page_token, "below") if request.page_token else None
        if request.liquidation_id < 0:
            raise refused_field("liquidation_id", "must be zero or more")
        if request.account_id:
            require_id(request.account_id, "account_id")
        wanted = ClaimFilter(request.account_id, request.liquidation_id, state)
        rows = page_rows(request.page_size)
        page = yield from ask(call, partial(self._store.claims, wanted, below, rows))
        response = pb.ListClaimsResponse(next_page_token=page_token("below", page.next_below))
        yield from chunked(
            iter(page.claims),
            lambda claim: fill_claim(response.claims.add(), claim),
            lambda claim: len(claim.positions),
        )
        return response

    def _changed(
        self,
        change: str,
        result: ChangeResult,
        token: int | None,
        wanted: ClaimState,
        asked: Record,
        info: CallInfo,
    ) -> Claim:
        """The claim as it stands after a change, once its line is written.

        Raises:
            RefusedError: -1006 or -1202.
        """
        refusal = None
        if not result.applied:
            refusal = leases.refused_change(result.claim, asked["claim_id"], token, wanted)
        # What was done before is told as known: nothing was changed by this call.
        known = refusal is None and not result.applied
        version = self._rules().policy.version
        self._log.claim_change(
            self._new_id(), info, change, asked, result.claim, refusal, version, known=known
        )
        if refusal is not None or result.claim is None:
            raise RefusedError(refusal or FAULT, logged=True)
        return result.claim

    def _refused(self, change: str) -> Callable[[_Change, Refusal, str, CallInfo], None]:
        """What writes the line of a change that was refused before a claim was found."""

        def write(request: _Change, refusal: Refusal, decision_id: str, info: CallInfo) -> None:
            asked = {"claim_id": request.claim_id[:MAX_ID]}
            version = self._rules().policy.version
            self._log.claim_change(decision_id, info, change, asked, None, refusal, version)

        return write


def _filled(
    response: pb.RenewClaimResponse | pb.CompleteClaimResponse | pb.CancelClaimResponse,
    claim: Claim,
) -> Message:
    fill_claim(response.claim, claim)
    return response


def _reason_violations(reason: str) -> Iterator[FieldViolation]:
    if len(reason) > _MAX_REASON:
        yield FieldViolation("reason", f"must have at most {_MAX_REASON} characters")
    # There are databases whose texts cannot hold it.
    if "\0" in reason:
        yield FieldViolation("reason", "must not hold the character U+0000")
