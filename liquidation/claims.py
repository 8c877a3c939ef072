"""The use cases of claims: begin, renew, complete, cancel = read → store → log.

The store holds the promises; `core.rules` and `core.leases` say what is refused and why. Every
call that asks for a change leaves one `claim` line, and so does every lease that runs out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from liquidation.core import leases
from liquidation.core.decide import assemble, decide
from liquidation.core.intake import MAX_ID, Defects, Intake, read_request
from liquidation.core.model import (
    Case,
    Claim,
    ClaimEvent,
    ClaimState,
    Defect,
    Refusal,
    Standing,
    Verdict,
)
from liquidation.core.policy import Rulebook
from liquidation.core.record import Record
from liquidation.core.rules import slot_taken, wrong_format
from liquidation.core.texts import Sent
from liquidation.desk import Admit, Answer
from liquidation.failures import ABANDONED, FAULT, compared, refusal_of
from liquidation.logs.lines import (
    Call,
    change_fields,
    claim_fields,
    decision_fields,
    request_record,
)
from liquidation.logs.writer import DecisionLog
from liquidation.register import RefusedError, Register, page_rows, refused_field
from liquidation.store.base import (
    BeginRequest,
    Begun,
    Changed,
    ClaimFilter,
    ClaimPage,
    StandingQuery,
    Store,
)

__all__ = ["BeginText", "Claims", "Granted"]

# Characters of a reason that is kept; inclusive.
_MAX_REASON: Final = 256
# Claims that one round of the background takes.
_ROUND: Final = 500


@dataclass(frozen=True, slots=True)
class BeginText:
    """A BeginClaim as it came; `lease` is (seconds, nanoseconds), None where it is absent."""

    request_id: str
    sent: Sent
    lease: tuple[int, int] | None

    def record(self) -> Record:
        """What of it a CheckClaim has not, as it came."""
        record: Record = {"request_id": self.request_id[:MAX_ID]}
        if self.lease is not None:
            seconds, nanos = self.lease
            record["lease_ttl"] = f"{seconds}.{nanos:09d}s" if nanos > 0 else f"{seconds}s"
        return record


@dataclass(frozen=True, slots=True)
class Granted:
    """A claim that was granted, now or before, and the decision that granted it."""

    claim: Claim
    answer: Answer


class Claims:
    """What is in progress. At most one active claim an account, and every one of them told."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], Rulebook],
        log: DecisionLog,
        register: Register,
        new_id: Callable[[], str],
        new_claim_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._rules = rules
        self._log = log
        self._register = register
        self._new_id = new_id
        self._new_claim_id = new_claim_id
        self._monotonic_ns = monotonic_ns

    async def begin(self, begin: BeginText, call: Call, admit: Admit) -> Granted | Answer:
        """Grants the claim, gives the one that the request_id got before, or says why not.

        What `admit` has something against is refused for that, and not looked at.
        """
        work = self._work(begin)
        try:
            outside = ABANDONED if call.abandoned() else admit(begin.sent)
            if outside is not None:
                return self._refused(work, call, outside)
            work.read()
            if work.intake.terms is None or begin.sent.unknown_fields:
                verdict = await self._decide_only(work)
                self._compare(work)
                return self._answered(work, call, verdict)
            request = self._begin_request(work)
            begun = await self._store.begin(request, lambda found: self._decide(work, found))
        except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
            return self._refused(work, call, refusal_of(error, self._log, work.decision_id))
        return self._begun(work, begun, call)

    async def renew(
        self, claim_id: str, token: int, lease: tuple[int, int] | None, call: Call
    ) -> Claim:
        """Lets an active claim run on from now.

        Raises:
            RefusedError: -1005, -1006 or -1202.
            StoreUnavailableError: the store did not answer.
        """
        _require(claim_id, leases.lease_defects(lease))
        lease_us = leases.lease_us(lease, self._rules().policy.claims.default_lease_ttl_s)
        changed = await self._store.renew(claim_id, token, lease_us)
        asked = {"claim_id": claim_id, "fencing_token": str(token), "lease_us": lease_us}
        return self._changed("renew", changed, claim_id, token, ClaimState.ACTIVE, asked, call)

    async def complete(self, claim_id: str, token: int, call: Call) -> Claim:
        """Ends a claim whose positions were transferred; raises as `renew`."""
        _require(claim_id)
        changed = await self._store.end(claim_id, token, ClaimState.COMPLETED, "")
        asked = {"claim_id": claim_id, "fencing_token": str(token)}
        return self._changed(
            "complete", changed, claim_id, token, ClaimState.COMPLETED, asked, call
        )

    async def cancel(
        self, claim_id: str, token: int, reason: str, *, force: bool, call: Call
    ) -> Claim:
        """Ends a claim whose positions were not transferred; raises as `renew`.

        `force` is an operator's: it needs no token.
        """
        too_long = Defect("reason", f"must have at most {_MAX_REASON} characters")
        _require(claim_id, (too_long,) if len(reason) > _MAX_REASON else ())
        expected = None if force else token
        changed = await self._store.end(claim_id, expected, ClaimState.CANCELLED, reason)
        asked = {
            "claim_id": claim_id,
            "fencing_token": str(token),
            "reason": reason,
            "force": force,
        }
        return self._changed(
            "cancel", changed, claim_id, expected, ClaimState.CANCELLED, asked, call
        )

    async def get(self, claim_id: str, request_id: str) -> tuple[Claim, Sequence[ClaimEvent]]:
        """A claim by exactly one of its ids, and its history.

        Raises:
            RefusedError: -1005, or -1006 where there is no such claim.
            StoreUnavailableError: the store did not answer.
        """
        if bool(claim_id) is bool(request_id):
            raise refused_field("claim_id", "must be given, or request_id, and not both")
        field, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        _require(value, field=field)
        claim = await self._store.claim(claim_id=claim_id, request_id=request_id)
        if claim is None:
            raise RefusedError(leases.claim_not_found(field, value))
        return claim, await self._store.history(claim.claim_id)

    async def page(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        """Claims, newest first; raises as `Register.page`."""
        if wanted.liquidation_id < 0:
            raise refused_field("liquidation_id", "must be zero or more")
        return await self._store.claims(wanted, below, page_rows(size))

    async def settle(self) -> None:
        """One round of the background: leases that ran out are told, old claims are forgotten.

        Raises:
            StoreUnavailableError: the store did not answer.
        """
        for claim in await self._store.expire(_ROUND):
            self._tell_expired(claim)
        retention_us = self._rules().policy.claims.retention_s * 1_000_000
        while await self._store.purge(retention_us, _ROUND) == _ROUND:
            continue

    def refused_change(
        self, change: str, claim_id: str, refusal: Refusal, decision_id: str, call: Call
    ) -> None:
        """Leaves the line of a change that was refused before a claim was found."""
        asked = {"claim_id": claim_id[:MAX_ID]}
        self._log_change(change, refusal, None, asked, call, decision_id)

    async def _decide_only(self, work: "_Begin") -> Verdict:
        """The verdict on a request that is refused whatever the store would grant."""
        standing = None
        if (terms := work.intake.terms) is not None:
            query = StandingQuery.about(terms, work.intake.snapshot)
            (standing,) = await self._store.standings([query])
        return self._decide(work, standing)

    def _decide(self, work: "_Begin", standing: Standing | None) -> Verdict:
        unknown = work.begin.sent.unknown_fields
        work.case = assemble(work.rules.policy, work.intake, standing, unknown)
        return decide(work.case)

    def _begin_request(self, work: "_Begin") -> BeginRequest:
        assert work.intake.terms is not None, "only of a request that was read"
        return BeginRequest(
            request_id=work.begin.request_id,
            claim_id=self._new_claim_id(),
            decision_id=work.decision_id,
            terms=work.intake.terms,
            snapshot=work.intake.snapshot,
            lease_us=leases.lease_us(
                work.begin.lease, work.rules.policy.claims.default_lease_ttl_s
            ),
        )

    def _begun(self, work: "_Begin", begun: Begun, call: Call) -> Granted | Answer:
        for claim in begun.expired:
            self._tell_expired(claim)
        if begun.put is not None and begun.put.opened:
            self._register.opened(begun.put.liquidation, call)
        verdict = begun.verdict
        if begun.claim is None and verdict.accepted:
            # Rule 8 is not enforced; the store's one slot an account is, always.
            taken = replace(verdict, refusal=slot_taken(begun.standing))
            return self._answered(work, call, taken)
        self._compare(work)
        if begun.claim is None:
            return self._answered(work, call, verdict)
        if begun.known and begun.claim.terms != work.intake.terms:
            refusal = leases.duplicate_request(begun.claim)
            return self._refused(work, call, refusal)
        work.decision_id = begun.decision_id
        answer = self._answered(work, call, verdict, begun.claim, known=begun.known)
        return Granted(begun.claim, answer)

    def fault(self, begin: BeginText, call: Call, error: Exception) -> Answer:
        """Refuses with -1000 because of an error that is ours; its traceback goes to the log."""
        work = self._work(begin)
        return self._refused(work, call, refusal_of(error, self._log, work.decision_id))

    def _compare(self, work: "_Begin") -> None:
        candidate = work.rules.candidate
        work.candidate = compared(work.case, candidate, self._log, work.decision_id)

    def _work(self, begin: BeginText) -> "_Begin":
        return _Begin(self._new_id(), self._rules(), begin, Intake(defects=begin.sent.defects))

    def _refused(self, work: "_Begin", call: Call, refusal: Refusal) -> Answer:
        return self._answered(work, call, Verdict(refusal, work.rules.policy.version))

    def _answered(
        self,
        work: "_Begin",
        call: Call,
        verdict: Verdict,
        claim: Claim | None = None,
        *,
        known: bool = False,
    ) -> Answer:
        sent = work.begin.sent
        fields = decision_fields(work.decision_id, sent, work.intake, verdict, call)
        fields |= call.fields(self._monotonic_ns())
        fields |= {"request_id": work.begin.request_id[:MAX_ID], "known": known}
        fields |= claim_fields("begin", claim)
        # A claim that was known is not decided again: the line of its decision has the request.
        case = None if known else work.case
        record = work.begin.record() | request_record(sent, work.intake, case)
        self._log.claim(verdict, fields, record, work.candidate)
        return Answer(work.decision_id, verdict)

    def _changed(
        self,
        change: str,
        changed: Changed,
        claim_id: str,
        token: int | None,
        wanted: ClaimState,
        asked: Record,
        call: Call,
    ) -> Claim:
        refusal = None
        if not changed.applied:
            refusal = leases.refused_change(changed.claim, claim_id, token, wanted)
        # What was done before is told as known: nothing was changed by this call.
        known = refusal is None and not changed.applied
        self._log_change(change, refusal, changed.claim, asked, call, known=known)
        if refusal is not None or changed.claim is None:
            raise RefusedError(refusal or FAULT, logged=True)
        return changed.claim

    def _tell_expired(self, claim: Claim) -> None:
        nobody = Call("", "", "", self._monotonic_ns())
        self._log_change("expire", None, claim, {"claim_id": claim.claim_id}, nobody)

    def _log_change(
        self,
        change: str,
        refusal: Refusal | None,
        claim: Claim | None,
        asked: Record,
        call: Call,
        decision_id: str = "",
        *,
        known: bool = False,
    ) -> None:
        version = self._rules().policy.version
        fields = change_fields(decision_id or self._new_id(), call, claim, version)
        fields |= call.fields(self._monotonic_ns()) | claim_fields(change, claim)
        fields["known"] = known
        self._log.claim_change(refusal, fields, asked)


@dataclass(slots=True)
class _Begin:
    """One BeginClaim on its way to an answer, by the rules in force when it was taken up."""

    decision_id: str
    rules: Rulebook
    begin: BeginText
    intake: Intake
    case: Case | None = None
    candidate: Verdict | None = None

    def read(self) -> None:
        """Reads the request; its own fields and those of the claim are told together."""
        if self.begin.sent.request is None:
            return
        self.intake = read_request(self.begin.sent.request)
        own = leases.request_defects(self.begin.request_id, self.begin.lease)
        if own:
            self.intake = Intake(defects=(*own, *self.intake.defects))


def _require(text: str, others: tuple[Defect, ...] = (), field: str = "claim_id") -> None:
    """Refuses an id that is none, with what else is wrong with the call."""
    defects = Defects()
    defects.identifier(text, field)
    if found := (*defects.found, *others):
        raise RefusedError(wrong_format(*found))
