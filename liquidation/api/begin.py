"""BeginClaim: admit, parse, and hand the claim to the store, which asks the rules and answers.

The store holds the promises: the claim is granted in the transaction of the decision, by the
account's one slot. Once that is durable, the thread that committed it writes the line and replies.
Every call ends in exactly one `claim` line.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from google.protobuf.message import Message

from liquidation.api.admission import Admission
from liquidation.api.calls import FAULT, ask, compared, refusal_of
from liquidation.api.convert import fill_claim, fill_decision
from liquidation.api.messages import parse_message, unreadable
from liquidation.api.status import refuse
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import leases
from liquidation.rules.checks import slot_taken
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import (
    Claim,
    ClaimRequest,
    FieldViolation,
    Liquidation,
    Refusal,
    StoredState,
)
from liquidation.rules.parse import MAX_ID, parse_request
from liquidation.rules.policy import ActivePolicy, Mode
from liquidation.rules.record import Record
from liquidation.store.base import BeginRequest, BeginResult, StateQuery, Store
from liquidation.transport.base import Call, Step, Work
from liquidation.v1 import claim_service_pb2 as pb

_NOTHING: Final = unreadable()


def lease_of(request: pb.BeginClaimRequest | pb.RenewClaimRequest) -> tuple[int, int] | None:
    """The lease that is asked for, as (seconds, nanoseconds); None if it is absent."""
    if not request.HasField("lease_ttl"):
        return None
    return request.lease_ttl.seconds, request.lease_ttl.nanos


@dataclass(frozen=True, slots=True)
class BeginHandler:
    """Grants claims. At most one active claim an account, and every request logged.

    `rules` are asked for once a request, so each is decided by one version of them.
    """

    store: Store
    rules: Callable[[], ActivePolicy]
    log: DecisionLog
    admission: Admission
    new_id: Callable[[], str]
    new_claim_id: Callable[[], str]
    log_opened: Callable[[CallInfo, Liquidation], None]
    log_expired: Callable[[Claim], None]

    def handle(self, call: Call, data: bytes) -> Work:
        """Takes up one BeginClaim."""
        info = self.admission.admit("BeginClaim", Permission.CLAIMS, call)
        begin = _Begin(self, call, info)
        try:
            return begin.take_up(data)
        except Exception as error:  # noqa: BLE001 - the one error boundary, told in full
            begin.done(error)
            return None


class _Begin:
    """One BeginClaim, from its parsing to its answer; the answer may come from another thread."""

    __slots__ = (
        "_admitted", "_call", "_decision_id", "_handler", "_info", "_lease", "_request",
        "_request_id", "_rules", "_sent",
    )  # fmt: skip

    def __init__(self, handler: BeginHandler, call: Call, info: CallInfo) -> None:
        self._handler = handler
        self._call = call
        self._info = info
        self._decision_id = handler.new_id()
        self._rules = handler.rules()
        self._admitted = handler.admission.limiter.enter()
        self._sent: Message | bytes = b""
        self._request: ClaimRequest = _NOTHING
        self._request_id = ""
        self._lease: tuple[int, int] | None = None

    def take_up(self, data: bytes) -> Work:
        """Parses the request and hands it to the store, or answers why not."""
        self._sent = data
        largest = self._rules.policy.limits.max_request_bytes
        sent, unknown = parse_message(pb.BeginClaimRequest, data, largest)
        refusal = self._outside(sent)
        if isinstance(sent, FieldViolation):
            if refusal is None:
                self._request = unreadable(sent)
        else:
            self._parse(sent, unknown, refused=refusal is not None)
        if refusal is not None:
            self._refuse(refusal)
        elif self._is_refused():
            return self._decide_only()
        else:
            self._begin()
        return None

    def _outside(self, sent: pb.BeginClaimRequest | FieldViolation) -> Refusal | None:
        """Why the request is not to be looked at, for a reason outside of the rules."""
        admission = self._handler.admission
        refusal = admission.refusal(self._call, self._info, full=not self._admitted)
        if refusal is None and not isinstance(sent, FieldViolation):
            per_second = self._rules.policy.limits.liquidator_requests_per_second
            refusal = admission.rate(sent.terms.liquidator_id, per_second)
        return refusal

    def _parse(
        self, sent: pb.BeginClaimRequest, unknown: tuple[str, ...], *, refused: bool
    ) -> None:
        """Parses the request; its own fields and those of the claim are told together."""
        self._sent = sent
        self._request_id, self._lease = sent.request_id, lease_of(sent)
        if refused:
            self._request = unreadable(unknown_fields=unknown)
        else:
            own = leases.request_violations(self._request_id, self._lease)
            self._request = parse_request(sent, unknown, own)

    def _is_refused(self) -> bool:
        """Whether the request is refused whatever is stored, and so must store nothing."""
        enforced = self._rules.policy.mode("known_fields") is Mode.ENFORCE
        return self._request.terms is None or (enforced and bool(self._request.unknown_fields))

    def _decide_only(self) -> Iterator[Step]:
        """Decides a request that is refused whatever the store would grant."""
        try:
            state = None
            if self._request.terms is not None:
                query = StateQuery.about(self._request.terms, self._request.snapshot)
                (state,) = self._handler.store.states((query,)) or (
                    yield from ask(self._call, partial(self._handler.store.read_states, (query,)))
                )
            decision = self.decide(state)
            self._answer(decision, candidate=self._compared(decision))
        except Exception as error:  # noqa: BLE001 - the one error boundary, told in full
            self.done(error)

    def decide(self, state: StoredState | None) -> Decision:
        """What the rules say; the store asks, in its transaction and on its thread."""
        return evaluate(self._rules.policy, self._request, state)

    def _begin(self) -> None:
        request = self._request
        assert request.terms is not None, "what has no terms is refused"
        default_s = self._rules.policy.claims.default_lease_ttl_s
        begin = BeginRequest(
            self._request_id,
            self._handler.new_claim_id(),
            self._decision_id,
            request.terms,
            request.snapshot,
            leases.lease_us(self._lease, default_s),
        )
        self._handler.store.begin(begin, self.decide, self.done)

    def done(self, outcome: BeginResult | Exception) -> None:
        """The store has ended: the line is written, and the call answered."""
        try:
            if isinstance(outcome, Exception):
                self._refuse(refusal_of(outcome, self._handler.log, self._decision_id))
            else:
                self._begun(outcome)
        except Exception as error:  # noqa: BLE001 - the one error boundary, told in full
            # As bytes: the message may be what could not be written down.
            if isinstance(self._sent, Message):
                self._sent = self._sent.SerializeToString()
            self._request = _NOTHING
            self._refuse(refusal_of(error, self._handler.log, self._decision_id))

    def _begun(self, result: BeginResult) -> None:
        for expired in result.expired:
            self._handler.log_expired(expired)
        if result.put is not None and result.put.opened:
            self._handler.log_opened(self._info, result.put.liquidation)
        decision, claim = result.decision, result.claim
        if claim is None and decision.refusal is None:
            # Rule 8 is not enforced; the store's one slot an account is, always.
            self._answer(replace(decision, refusal=slot_taken(result.state)))
            return
        if claim is None:
            self._answer(decision, candidate=self._compared(decision))
            return
        if result.known and claim.terms != self._request.terms:
            self._refuse(leases.duplicate_request(claim))
            return
        candidate = None if result.known else self._compared(decision)
        self._decision_id = result.decision_id
        self._answer(decision, claim, candidate, known=result.known)

    def _compared(self, decision: Decision) -> Decision | None:
        candidate = self._rules.candidate
        return compared(decision, candidate, self._handler.log, self._decision_id)

    def _refuse(self, refusal: Refusal) -> None:
        """Refuses for a reason outside of the rules."""
        self._answer(Decision(refusal, self._rules.policy.version))

    def _answer(
        self,
        decision: Decision,
        claim: Claim | None = None,
        candidate: Decision | None = None,
        *,
        known: bool = False,
    ) -> None:
        if self._admitted:
            self._admitted = False
            self._handler.admission.limiter.leave()
        self._handler.log.begin(
            self._decision_id,
            self._info,
            self._request_id,
            self._own_record(),
            self._request,
            self._sent,
            decision,
            claim,
            candidate,
            known=known,
        )
        if claim is None:
            refusal = decision.refusal or FAULT
            refuse(self._call, refusal, self._decision_id, decision)
            self._handler.admission.answered(self._info, refusal.row.code)
            return
        response = pb.BeginClaimResponse()
        fill_claim(response.claim, claim)
        fill_decision(response.decision, self._decision_id, decision)
        self._call.reply(response.SerializeToString())
        self._handler.admission.answered(self._info, 0)

    def _own_record(self) -> Record:
        """What of the request a CheckClaim has not, as it came."""
        record: Record = {"request_id": self._request_id[:MAX_ID]}
        if self._lease is not None:
            seconds, nanos = self._lease
            record["lease_ttl"] = f"{seconds}.{nanos:09d}s" if nanos > 0 else f"{seconds}s"
        return record
