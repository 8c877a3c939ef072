"""The use cases: load what is stored, ask the rules, write the log line, answer.

The desk decides nothing itself. Whatever happens to a request, it ends in one `Answer` and one log
line: a store that does not answer, a fault of our own and a caller who went away included.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from liquidation.api.failures import ABANDONED, FAULT, STORE_NOT_REACHED, compared, refusal_of
from liquidation.decisionlog.entry import Call, decision_fields, request_record
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.evaluate import assemble, decide
from liquidation.rules.intake import Intake, read_request
from liquidation.rules.model import Decision, Refusal, RuleInput, StoredState
from liquidation.rules.policy import ActivePolicy
from liquidation.rules.texts import Sent
from liquidation.store.base import StateQuery, Store

__all__ = ["TURN", "Admit", "Answer", "Asked", "Desk", "turn_of"]

# Why a request is not to be decided, for a reason that lies outside of the rules; None to go on.
Admit = Callable[[Sent], Refusal | None]

# Requests that are decided together, at most, before other calls get their turn.
TURN: Final = 32
# The same where some of them are explained, which takes about three times as long.
_EXPLAINED_TURN: Final = 8


class Answer(NamedTuple):
    """A verdict, and the id under which the log has it."""

    decision_id: str
    verdict: Decision


class Asked(NamedTuple):
    """A request to be checked, of which call, and whether its caller is gone already.

    `fault` is what reading it met that is a fault of ours.
    """

    sent: Sent
    call: Call
    admit: Admit
    abandoned: bool
    fault: Exception | None = None


def turn_of(*, explained: bool) -> int:
    """How many requests of one call are read, decided or answered before others get their turn."""
    return _EXPLAINED_TURN if explained else TURN


def _admit_all(_: Sent) -> Refusal | None:
    return None


class Desk:
    """Decides claims. Store, rules, log, ids and the monotonic clock are passed in."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], ActivePolicy],
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
        self._turn = asyncio.Lock()

    async def check(self, sent: Sent, call: Call, admit: Admit = _admit_all) -> Answer:
        """The answer to one request; see `check_together`."""
        asked = Asked(sent, call, admit, abandoned=call.abandoned())
        (answer,) = await self.check_together((asked,))
        return answer

    async def check_together(self, asked: Sequence[Asked]) -> list[Answer]:
        """The answers to some requests, in order; none of them changes another's.

        What `admit` has something against is refused for that, and not decided.

        Raises:
            asyncio.CancelledError: the caller is gone; each request is logged as such.
        """
        works = [self._take_up(each) for each in asked]
        return await self._check(works, asked)

    async def check_all(
        self,
        requests: Iterator[Sent],
        many: int,
        size: int,
        call: Call,
        admit: Admit = _admit_all,
        *,
        waits: bool = True,
    ) -> AsyncIterator[list[Answer]]:
        """The answers to the `many` requests of one call, in order, turn by turn.

        They are taken from `requests`, and decided, `size` in a turn: to read them all takes long.
        Once the caller is gone the rest is logged as such, in turns too. Without `waits` no turn is
        waited for.

        Raises:
            asyncio.CancelledError: there was no more waiting; what was not decided is logged.
        """
        store_refusal: Refusal | None = None
        try:
            for _ in range(0, many, size):
                if many > size and waits:
                    await self.turn()
                abandoned = call.abandoned()
                asked = [Asked(each, call, admit, abandoned) for each in islice(requests, size)]
                works = [self._take_up(each) for each in asked]
                for work in works:
                    # A store that did not answer is waited for once a call, not once a turn.
                    work.store_refusal = store_refusal
                yield await self._check(works, asked)
                if any(work.store_refusal is STORE_NOT_REACHED for work in works):
                    store_refusal = STORE_NOT_REACHED
        except asyncio.CancelledError:
            for each in requests:
                self._refuse(self._work(each), call, ABANDONED)
            raise

    async def turn(self) -> None:
        """Waits for the turn of a call that takes many of them.

        However many such calls there are, one of them goes on at a time, and before the next does
        all other calls get theirs.
        """
        async with self._turn:
            await asyncio.sleep(0)

    def fault(self, sent: Sent, call: Call, error: Exception) -> Answer:
        """Refuses with -1000 because of an error that is ours; its traceback goes to the log."""
        work = self._work(sent)
        return self._refuse(work, call, refusal_of(error, self._log, work.decision_id))

    def _work(self, sent: Sent) -> "_Work":
        return _Work(self._new_id(), self._rules(), sent, Intake(violations=sent.violations))

    def _refuse(self, work: "_Work", call: Call, refusal: Refusal) -> Answer:
        work.verdict = work.undecided(refusal)
        return self._answer(work, call)

    def _take_up(self, asked: Asked) -> "_Work":
        """A request with what it asks for read, or with the verdict where it is not to be read."""
        sent = asked.sent
        work = self._work(sent)
        try:
            if asked.fault is not None:
                raise asked.fault
            outside = ABANDONED if asked.abandoned else asked.admit(sent)
            if outside is not None:
                work.verdict = work.undecided(outside)
            elif sent.request is not None:
                work.intake = read_request(sent.request)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this request alone
            work.verdict = work.undecided(refusal_of(error, self._log, work.decision_id))
        return work

    async def _check(self, works: Sequence["_Work"], asked: Sequence[Asked]) -> list[Answer]:
        try:
            await self._look_up(works)
        except asyncio.CancelledError:
            for work, each in zip(works, asked, strict=True):
                self._refuse(work, each.call, ABANDONED)
            raise
        return [self._settle(work, each.call) for work, each in zip(works, asked, strict=True)]

    async def _look_up(self, works: Sequence["_Work"]) -> None:
        """Fills in what is stored about each request; where that fails, why."""
        queries = []
        asking = []
        for work in works:
            if work.intake.terms is not None and work.store_refusal is None:
                asking.append(work)
                queries.append(StateQuery.about(work.intake.terms, work.intake.snapshot))
        if not queries:
            return
        try:
            states = await self._store.states(queries)
        except Exception as error:  # noqa: BLE001 - as in `_take_up`
            refusal = refusal_of(error, self._log, *(work.decision_id for work in asking))
            for work in asking:
                work.store_refusal = refusal
        else:
            for work, state in zip(asking, states, strict=True):
                work.state = state

    def _settle(self, work: "_Work", call: Call) -> Answer:
        if work.verdict is None:
            try:
                self._decide(work)
            except Exception as error:  # noqa: BLE001 - as in `_take_up`
                work.verdict = work.undecided(refusal_of(error, self._log, work.decision_id))
        return self._answer(work, call)

    def _decide(self, work: "_Work") -> None:
        rules = work.rules
        work.case = assemble(rules.policy, work.intake, work.state, work.sent.unknown_fields)
        verdict = decide(work.case, explain=work.sent.explain)
        if verdict.accepted and work.store_refusal is not None:
            # The rules that need no store have nothing against it; the others could not be asked.
            verdict = replace(verdict, refusal=work.store_refusal)
        work.verdict = verdict
        if work.store_refusal is None:
            work.candidate = compared(work.case, rules.candidate, self._log, work.decision_id)

    def _answer(self, work: "_Work", call: Call) -> Answer:
        verdict = work.verdict or work.undecided(FAULT)
        now_ns = self._monotonic_ns()
        fields = decision_fields(work.decision_id, work.sent, work.intake, verdict, call, now_ns)
        record = request_record(work.sent, work.intake, work.case)
        self._log.decision(verdict, fields, record, work.candidate)
        return Answer(work.decision_id, verdict)


@dataclass(slots=True)
class _Work:
    """One request on its way to a verdict, by the rules that were in force when it was taken up."""

    decision_id: str
    rules: ActivePolicy
    sent: Sent
    intake: Intake
    state: StoredState | None = None
    store_refusal: Refusal | None = None
    case: RuleInput | None = None
    verdict: Decision | None = None
    candidate: Decision | None = None

    def undecided(self, refusal: Refusal) -> Decision:
        """The verdict where the rules were not asked."""
        return Decision(refusal, self.rules.policy.version)
