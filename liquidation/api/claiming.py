"""The use case of BeginClaim: read → store, which asks the rules → log.

The store holds the promises: the claim is granted in the transaction of the decision, by the
account's one slot. Every call leaves one `claim` line.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from liquidation.api.desk import Admit, Answer
from liquidation.api.failures import ABANDONED, compared, refusal_of
from liquidation.api.register import Register
from liquidation.decisionlog.entry import Call, claim_fields, decision_fields, request_record
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import leases
from liquidation.rules.checks import slot_taken
from liquidation.rules.evaluate import assemble, decide
from liquidation.rules.intake import MAX_ID, Intake, read_request
from liquidation.rules.model import Claim, Decision, Refusal, RuleInput, StoredState
from liquidation.rules.policy import ActivePolicy, Mode
from liquidation.rules.record import Record
from liquidation.rules.texts import Sent
from liquidation.store.base import BeginRequest, BeginResult, StateQuery, Store

__all__ = ["BeginText", "Claiming", "Granted"]


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


class Claiming:
    """Grants claims. At most one active claim an account, and every request told."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], ActivePolicy],
        log: DecisionLog,
        register: Register,
        tell_expired: Callable[[Claim], None],
        new_id: Callable[[], str],
        new_claim_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        """`rules` are asked for once a request, so each is decided by one version of them.

        `tell_expired` leaves the line of a lease that ran out and whose account a claim takes.
        """
        self._store = store
        self._rules = rules
        self._log = log
        self._register = register
        self._tell_expired = tell_expired
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
            if work.is_refused:
                verdict = await self._decide_only(work)
                self._compare(work)
                return self._answered(work, call, verdict)
            request = self._begin_request(work)
            begun = await self._store.begin(request, lambda found: self._decide(work, found))
        except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
            return self._refused(work, call, refusal_of(error, self._log, work.decision_id))
        return self._begun(work, begun, call)

    def fault(self, begin: BeginText, call: Call, error: Exception) -> Answer:
        """Refuses with -1000 because of an error that is ours; its traceback goes to the log."""
        work = self._work(begin)
        return self._refused(work, call, refusal_of(error, self._log, work.decision_id))

    async def _decide_only(self, work: "_Begin") -> Decision:
        """The verdict on a request that is refused whatever the store would grant."""
        state = None
        if (terms := work.intake.terms) is not None:
            query = StateQuery.about(terms, work.intake.snapshot)
            (state,) = await self._store.states([query])
        return self._decide(work, state)

    def _decide(self, work: "_Begin", state: StoredState | None) -> Decision:
        unknown = work.begin.sent.unknown_fields
        work.case = assemble(work.rules.policy, work.intake, state, unknown)
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

    def _begun(self, work: "_Begin", begun: BeginResult, call: Call) -> Granted | Answer:
        for claim in begun.expired:
            self._tell_expired(claim)
        if begun.put is not None and begun.put.opened:
            self._register.opened(begun.put.liquidation, call)
        verdict = begun.verdict
        if begun.claim is None and verdict.accepted:
            # Rule 8 is not enforced; the store's one slot an account is, always.
            taken = replace(verdict, refusal=slot_taken(begun.state))
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

    def _compare(self, work: "_Begin") -> None:
        candidate = work.rules.candidate
        work.candidate = compared(work.case, candidate, self._log, work.decision_id)

    def _work(self, begin: BeginText) -> "_Begin":
        return _Begin(
            self._new_id(), self._rules(), begin, Intake(violations=begin.sent.violations)
        )

    def _refused(self, work: "_Begin", call: Call, refusal: Refusal) -> Answer:
        return self._answered(work, call, Decision(refusal, work.rules.policy.version))

    def _answered(
        self,
        work: "_Begin",
        call: Call,
        verdict: Decision,
        claim: Claim | None = None,
        *,
        known: bool = False,
    ) -> Answer:
        sent = work.begin.sent
        now_ns = self._monotonic_ns()
        fields = decision_fields(work.decision_id, sent, work.intake, verdict, call, now_ns)
        fields |= {"request_id": work.begin.request_id[:MAX_ID], "known": known}
        fields |= claim_fields("begin", claim)
        # A claim that was known is not decided again: the line of its decision has the request.
        case = None if known else work.case
        record = work.begin.record() | request_record(sent, work.intake, case)
        self._log.claim(verdict, fields, record, work.candidate)
        return Answer(work.decision_id, verdict)


@dataclass(slots=True)
class _Begin:
    """One BeginClaim on its way to an answer, by the rules in force when it was taken up."""

    decision_id: str
    rules: ActivePolicy
    begin: BeginText
    intake: Intake
    case: RuleInput | None = None
    candidate: Decision | None = None

    @property
    def is_refused(self) -> bool:
        """Whether what was read is refused whatever is stored, and so must store nothing."""
        enforced = self.rules.policy.mode("known_fields") is Mode.ENFORCE
        return self.intake.terms is None or (enforced and bool(self.begin.sent.unknown_fields))

    def read(self) -> None:
        """Reads the request; its own fields and those of the claim are told together."""
        if self.begin.sent.request is None:
            return
        self.intake = read_request(self.begin.sent.request)
        own = leases.request_violations(self.begin.request_id, self.begin.lease)
        if own:
            self.intake = Intake(violations=(*own, *self.intake.violations))
