"""The requests of one world, asked by every way there is, and what they are answered."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from tests.attacks.oracle.answers import Answer
from tests.attacks.oracle.cases import Case, drawn_case
from tests.attacks.oracle.comparing import differences, differences_of_line
from tests.attacks.oracle.evaluator import begun
from tests.attacks.oracle.sidecar import Result, Sidecar
from tests.attacks.oracle.tally import Tally
from tests.attacks.oracle.worlds import World

_Way = Callable[[Sequence[Case]], Coroutine[Any, Any, list[Result]]]

_CHUNK = 250
_BATCHES_A_STREAM = 4
_BY_CALLS = 20


class DisagreementError(AssertionError):
    """The service and the contract answer differently; with all that is needed to see why."""


class Asking:
    """The requests of one world, and what they are answered."""

    def __init__(self, sidecar: Sidecar, world: World, seed: str, tally: Tally) -> None:
        self.version = f"world-{world.number}"
        self._sidecar = sidecar
        self._world = world
        self._seed = seed
        self._tally = tally
        self._expected: dict[str, tuple[Case, Answer]] = {}
        self._found: list[str] = []

    async def ask(self, cases: int, rules: str) -> None:
        """Asks so many requests, and a few more by calls of their own and as claims.

        Raises:
            DisagreementError: there is one at least.
        """
        sidecar, tally = self._sidecar, self._tally
        await sidecar.make(self._world, rules, self.version)
        for number, begin in enumerate(range(0, cases, _CHUNK)):
            chunk = [self._case(index) for index in range(begin, min(cases, begin + _CHUNK))]
            in_stream = (number + self._world.number) % _BATCHES_A_STREAM == 0
            await self._compare(sidecar.by_stream if in_stream else sidecar.by_batch, chunk)
        await self._compare(
            sidecar.by_calls, [self._case(-each) for each in range(1, _BY_CALLS + 1)]
        )
        await self._begin()
        await self._compare_lines()
        tally.worlds += 1
        if self._found:
            smallest = min(self._found, key=len)
            raise DisagreementError(f"{len(self._found)} disagreements; the smallest:\n{smallest}")

    def _case(self, index: int) -> Case:
        return drawn_case(Random(f"{self._seed}:{index}"), self._world)

    async def _compare(self, by: _Way, cases: Sequence[Case]) -> None:
        """Asks the server, and while it decides, the evaluator."""
        asked = asyncio.create_task(by(cases))
        await asyncio.sleep(0)
        expected = [case.answer() for case in cases]
        results = await asked
        for case, answer, result in zip(cases, expected, results, strict=True):
            self._tally.note(case, answer)
            self._settle(case, answer, result)
        self._tally.ways[by.__name__] += len(cases)

    async def _compare_lines(self) -> None:
        lines = await self._sidecar.lines(self._expected)
        for decision_id, (case, expected) in self._expected.items():
            found = differences_of_line(expected, lines[decision_id], self.version)
            self._note(case, expected, found)
        self._tally.lines += len(self._expected)

    def _settle(self, case: Case, expected: Answer, result: Result) -> None:
        decision_id, found = differences(expected, result, self.version)
        self._note(case, expected, found)
        if decision_id:
            self._expected[decision_id] = case, expected

    async def _begin(self) -> None:
        """Begins a claim on each account once: what was stored before tells the answer."""
        cases: list[tuple[Case, Answer]] = []
        touched: set[object] = set()
        liquidators: set[object] = set()
        for index in range(len(self._world.subjects) * 4):
            case = self._case(index)
            touches = _touched_by(case)
            # BeginClaim has no `explain`, and its own fields are not those of a check.
            case.request.pop("explain", None)
            liquidator = case.request["terms"].get("liquidator_id")
            if case.unknown_field_in == "" or touches & (touched | liquidators):
                continue
            # A claim with a snapshot may put a liquidator under liquidation.
            if liquidator in touched:
                continue
            touched |= touches
            liquidators.add(liquidator)
            cases.append((case, begun(case.answer(), case.state)))
        results = await asyncio.gather(*(self._sidecar.begin(case) for case, _ in cases))
        for (case, expected), result in zip(cases, results, strict=True):
            self._settle(case, expected, result)
        self._tally.begins += len(cases)

    def _note(self, case: Case, expected: Answer, found: list[str]) -> None:
        if found:
            self._found.append(_told(self._seed, case, expected, found))


def _touched_by(case: Case) -> set[object]:
    """The liquidation and the account that a claim may change."""
    request = case.request
    known: list[Any] = [request.get("liquidation"), case.state.stored]
    return {request["terms"].get("liquidation_id")} | {
        each.get("account_id") for each in known if each is not None
    }


def _told(seed: str, case: Case, expected: Answer, found: Sequence[str]) -> str:
    """A disagreement, with all that is needed to ask again."""
    state = case.state
    return "\n".join(
        [
            f"seed {seed}",
            f"rules in force: {case.world.in_force}",
            f"stored: {json.dumps(state.stored)}, {replace(state, stored=None)}",
            f"request: {json.dumps(case.request)}, unknown field in {case.unknown_field_in!r}",
            f"by the contract: {expected}",
            *found,
        ]
    )
