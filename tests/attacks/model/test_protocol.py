"""The model itself: it keeps the promises in every state, and an error in it would be seen."""

import pytest

from tests.attacks.model.exhaustive import Broken, explore
from tests.attacks.model.invariants import PROMISES
from tests.attacks.model.mutants import MUTANTS, Mutant
from tests.attacks.model.protocol import Protocol
from tests.attacks.model.world import Bounds


@pytest.mark.parametrize(
    ("bounds", "states"),
    [
        (Bounds(accounts=(0,), requests=2), 359),
        (Bounds(accounts=(0,), requests=1, terms=2, stale=True), 111),
        (Bounds(accounts=(0, 0), requests=1), 1065),
        (Bounds(accounts=(0, 1), requests=1), 392),
    ],
    ids=["two clients", "two terms", "two liquidations of an account", "two accounts"],
)
def test_every_promise_holds_in_every_state(bounds: Bounds, states: int) -> None:
    assert explore(Protocol(), bounds).states == states


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.protocol.__name__)
def test_a_protocol_with_an_error_breaks_a_promise(mutant: Mutant) -> None:
    with pytest.raises(Broken) as found:
        # By their own names: an error may well look at them.
        explore(mutant.protocol(), mutant.bounds, lambda state: state, {mutant.breaks})

    assert len(found.value.path) == mutant.steps


def test_every_promise_is_broken_by_some_error() -> None:
    assert {mutant.breaks for mutant in MUTANTS} == PROMISES
