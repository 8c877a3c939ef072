"""The use cases: load what is stored, ask the rules, write the log line, answer.

The desk decides nothing itself. Whatever happens to a request, it ends in one `Answer` and one log
line: a store that does not answer, a fault of our own and a caller who went away included.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from liquidation.core.decide import assemble, decide
from liquidation.core.intake import Intake, read_request
from liquidation.core.model import Case, Refusal, Standing, Verdict
from liquidation.core.policy import Rulebook
from liquidation.core.texts import Sent
from liquidation.failures import ABANDONED, FAULT, STORE_NOT_REACHED, compared, refusal_of
from liquidation.logs.lines import Call, decision_fields, request_record
from liquidation.logs.writer import DecisionLog
from liquidation.store.base import StandingQuery, Store

__all__ = ["Admit", "Answer", "Desk"]

# Why a request is not to be decided, for a reason that lies outside of the rules; None to go on.
Admit = Callable[[Sent], Refusal | None]

# Requests of a batch that are decided before other calls get their turn.
_TURN: Final = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict, and the id under which the log has it."""

    decision_id: str
    verdict: Verdict


def _admit_all(_: Sent) -> Refusal | None:
    return None


class Desk:
    """Decides claims. Store, rules, log, ids and the monotonic clock are passed in."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], Rulebook],
        log: DecisionLog,
        new_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        """`rules` are asked for once a request, so each is decided by one version of them."""
        self._store = store
        self._rules = rules
        self._log = log
        self._new_id = new_id
        self._monotonic_ns = monotonic_ns

    async def check(self, sent: Sent, call: Call, admit: Admit = _admit_all) -> Answer:
        """The answer to one request; see `check_all`."""
        (answer,) = await self.check_all((sent,), call, admit)
        return answer

    async def check_all(
        self, requests: Sequence[Sent], call: Call, admit: Admit = _admit_all
    ) -> list[Answer]:
        """The answers to many requests, in order; none of them changes another's.

        What `admit` has something against is refused for that, and not decided.

        Raises:
            asyncio.CancelledError: the caller is gone; what was not decided is logged as such.
        """
        answers: list[Answer] = []
        store_refusal: Refusal | None = None
        try:
            for start in range(0, len(requests), _TURN):
                if start:
                    await asyncio.sleep(0)
                works = [self._work(each) for each in requests[start : start + _TURN]]
                for work in works:
                    # A store that did not answer is waited for once a call, not once a turn.
                    work.store_refusal = store_refusal
                answers += await self._decide_all(works, call, admit)
                if any(work.store_refusal is STORE_NOT_REACHED for work in works):
                    store_refusal = STORE_NOT_REACHED
        except asyncio.CancelledError:
            for each in requests[len(answers) :]:
                self._refuse(self._work(each), call, ABANDONED)
            raise
        return answers

    def fault(self, sent: Sent, call: Call, error: Exception) -> Answer:
        """Refuses with -1000 because of an error that is ours; its traceback goes to the log."""
        work = self._work(sent)
        return self._refuse(work, call, refusal_of(error, self._log, work.decision_id))

    def _work(self, sent: Sent) -> "_Work":
        return _Work(self._new_id(), self._rules(), sent, Intake(defects=sent.defects))

    def _refuse(self, work: "_Work", call: Call, refusal: Refusal) -> Answer:
        work.verdict = work.undecided(refusal)
        return self._answer(work, call)

    async def _decide_all(self, works: Sequence["_Work"], call: Call, admit: Admit) -> list[Answer]:
        abandoned = call.abandoned()
        for work in works:
            outside = ABANDONED if abandoned else admit(work.sent)
            if outside is not None:
                work.verdict = work.undecided(outside)
            self._guarded(work, self._read)
        await self._look_up([work for work in works if work.intake.terms is not None])
        for work in works:
            self._guarded(work, self._decide)
        return [self._answer(work, call) for work in works]

    def _guarded(self, work: "_Work", step: Callable[["_Work"], None]) -> None:
        """Runs a step; a fault of ours ends this request alone, with the traceback in the log."""
        if work.verdict is not None:
            return
        try:
            step(work)
        except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
            work.verdict = work.undecided(refusal_of(error, self._log, work.decision_id))

    def _read(self, work: "_Work") -> None:
        if work.sent.request is not None:
            work.intake = read_request(work.sent.request)

    async def _look_up(self, works: Sequence["_Work"]) -> None:
        """Fills in what is stored about each request; where that fails, why."""
        works = [work for work in works if work.store_refusal is None]
        if not works:
            return
        queries = [
            StandingQuery.about(work.intake.terms, work.intake.snapshot)
            for work in works
            if work.intake.terms is not None
        ]
        try:
            standings = await self._store.standings(queries)
        except Exception as error:  # noqa: BLE001 - as in `_guarded`
            refusal = refusal_of(error, self._log, *(work.decision_id for work in works))
            for work in works:
                work.store_refusal = refusal
        else:
            for work, standing in zip(works, standings, strict=True):
                work.standing = standing

    def _decide(self, work: "_Work") -> None:
        policy = work.rules.policy
        work.case = assemble(policy, work.intake, work.standing, work.sent.unknown_fields)
        verdict = decide(work.case, explain=work.sent.explain)
        if verdict.accepted and work.store_refusal is not None:
            # The rules that need no store have nothing against it; the others could not be asked.
            verdict = replace(verdict, refusal=work.store_refusal)
        work.verdict = verdict
        if work.store_refusal is None:
            candidate = work.rules.candidate
            work.candidate = compared(work.case, candidate, self._log, work.decision_id)

    def _answer(self, work: "_Work", call: Call) -> Answer:
        verdict = work.verdict or work.undecided(FAULT)
        fields = decision_fields(work.decision_id, work.sent, work.intake, verdict, call)
        fields |= call.fields(self._monotonic_ns())
        record = request_record(work.sent, work.intake, work.case)
        self._log.decision(verdict, fields, record, work.candidate)
        return Answer(work.decision_id, verdict)


@dataclass(slots=True)
class _Work:
    """One request on its way to a verdict, by the rules that were in force when it was taken up."""

    decision_id: str
    rules: Rulebook
    sent: Sent
    intake: Intake
    standing: Standing | None = None
    store_refusal: Refusal | None = None
    case: Case | None = None
    verdict: Verdict | None = None
    candidate: Verdict | None = None

    def undecided(self, refusal: Refusal) -> Verdict:
        """The verdict where the rules were not asked."""
        return Verdict(refusal, self.rules.policy.version)
