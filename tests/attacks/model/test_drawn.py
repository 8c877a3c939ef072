"""Every store does what the model says, whatever is drawn: longer, wider and with any tokens.

The long form: `LIQUIDATION_CASES=2000 pytest tests/attacks/model/test_drawn.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import ClassVar, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.attacks.model.held import HeldStore, World
from tests.attacks.model.invariants import broken_by, broken_in
from tests.attacks.model.state import (
    DUPLICATED,
    IN_PROCESS,
    NOT_FOUND,
    OK,
    REFUSED,
    Action,
    Begin,
    Change,
    Close,
    Event,
    Put,
    Wait,
)
from tests.attacks.model.world import Bounds
from tests.clocks import Clock
from tests.store.conftest import OpenStore
from tests.unit.seeded import seeded

# Two liquidations of one account and one of another, asked for by more than they can serve.
WIDE: Final = Bounds(accounts=(0, 0, 1), requests=5, terms=3, stale=True)
# Histories that each engine lives through, of up to so many steps.
CASES: Final = {"sqlite": 40, "postgres": 8}
STEPS: Final = 40

ANSWERS: Final = {
    ("Begin", OK),
    ("Begin", DUPLICATED),
    ("Begin", IN_PROCESS),
    ("Begin", REFUSED),
    ("Change", OK),
    ("Change", NOT_FOUND),
    ("Change", REFUSED),
    ("Close", OK),
    ("Close", IN_PROCESS),
    ("Close", REFUSED),
}

LIQUIDATIONS = st.integers(0, len(WIDE.accounts) - 1)
REQUESTS = st.integers(0, WIDE.requests - 1)
CHANGES = st.sampled_from(["renew", "complete", "cancel"])
# Of a claim among those that are kept, the newest first; now and then of none.
PLACES = st.sampled_from([0, 0, 0, 0, 1, 1, 2, None])


def _keeps(claims: int) -> Callable[["Claims"], bool]:
    return lambda played: len(played.world.state.claims) >= claims


class Claims(RuleBasedStateMachine):
    """One history of a store and of the model, side by side."""

    runner: ClassVar[asyncio.Runner]
    store: ClassVar[HeldStore]
    seen: ClassVar[Counter[tuple[str, int]]]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.store, WIDE.initial)

    @rule(
        request=REQUESTS,
        liquidation=LIQUIDATIONS,
        terms=st.sampled_from([0, 0, 0, 1, 2]),
        ahead=st.none() | st.integers(-2, 3),
    )
    def begin(self, request: int, liquidation: int, terms: int, ahead: int | None) -> None:
        stored = self.world.state.liquidations[liquidation].revision
        brought = 0 if ahead is None else max(stored + ahead, 1)
        self._do(Begin(request, liquidation, terms, brought))

    @rule(request=REQUESTS, liquidation=LIQUIDATIONS)
    def begin_with_news(self, request: int, liquidation: int) -> None:
        stored = self.world.state.liquidations[liquidation].revision
        self._do(Begin(request, liquidation, 0, stored + 1))

    @precondition(_keeps(1))
    @rule(what=CHANGES, place=PLACES)
    def change(self, what: str, place: int | None) -> None:
        request = self._request(place)
        claim = self.world.state.claim_of(request)
        self._do(Change(what, request, 0 if claim is None else claim.token))

    @precondition(_keeps(1))
    @rule(what=CHANGES, place=PLACES, behind=st.integers(-1, 3))
    def change_with_any_token(self, what: str, place: int | None, behind: int) -> None:
        token = max(self.world.state.counter - behind, 0)
        self._do(Change(what, self._request(place), token))

    @precondition(_keeps(1))
    @rule(place=PLACES)
    def cancel_by_force(self, place: int | None) -> None:
        self._do(Change("cancel", self._request(place), None))

    @rule(liquidation=LIQUIDATIONS, ahead=st.integers(-1, 3))
    def put(self, liquidation: int, ahead: int) -> None:
        stored = self.world.state.liquidations[liquidation].revision
        self._do(Put(liquidation, max(stored + ahead, 1)))

    # What is closed stays so: closed too early, a liquidation has no history.
    @precondition(_keeps(2))
    @rule(liquidation=LIQUIDATIONS)
    def close(self, liquidation: int) -> None:
        self._do(Close(liquidation))

    @precondition(_keeps(1))
    @rule(ticks=st.sampled_from([1, 1, 2, 3]))
    def wait(self, ticks: int) -> None:
        self._do(Wait(ticks))

    @precondition(_keeps(1))
    @rule(event=st.sampled_from(Event))
    def happen(self, event: Event) -> None:
        self._do(event)

    @invariant()
    def the_store_is_as_the_model_is(self) -> None:
        self.runner.run(self.world.agrees())
        assert broken_in(self.world.state) == []

    def _request(self, place: int | None) -> int:
        claims = self.world.state.claims
        if place is None:
            kept = {claim.request for claim in claims}
            return next((n for n in range(WIDE.requests) if n not in kept), 0)
        return claims[-1 - place % len(claims)].request

    def _do(self, action: Action) -> None:
        before = self.world.state
        step = self.runner.run(self.world.does(action))
        self.seen[type(action).__name__, step.answer.code] += 1
        assert broken_by(before, step) == []


@pytest.mark.parametrize("engine", CASES)
def test_a_store_follows_the_model_through_any_history(
    engine: str, open_store: OpenStore, clock: Clock
) -> None:
    with asyncio.Runner() as of_this_store:

        class Here(Claims):
            runner = of_this_store
            store = HeldStore(open_store, clock, wall_counts=engine != "sqlite")
            seen = Counter()  # noqa: RUF012 - annotated in the class above

        of_this_store.run(Here.store.restart())
        try:
            run_state_machine_as_test(
                Here, settings=settings(seeded(CASES[engine]), stateful_step_count=STEPS)
            )
        finally:
            of_this_store.run(Here.store.aclose())

    # A run that never meets an answer proves nothing about it.
    assert Here.seen.keys() >= ANSWERS, Here.seen
