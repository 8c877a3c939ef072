"""Every store does what the model says, along walks that take every transition of it.

The long form goes further: `LIQUIDATION_CASES=1 pytest tests/attacks/model/test_stores.py`.
"""

from collections.abc import Iterable

import pytest

from tests.attacks.model.cover import walks
from tests.attacks.model.exhaustive import Broken, explore
from tests.attacks.model.held import Disagreement, World, held
from tests.attacks.model.mutants import MUTANTS, Mutant
from tests.attacks.model.state import Action
from tests.attacks.model.world import Bounds
from tests.clocks import Clock
from tests.store.conftest import OpenStore
from tests.unit.seeded import LONG_FORM

ONE_CLIENT = Bounds(accounts=(0,), requests=1)
TWO_CLIENTS = Bounds(accounts=(0,), requests=2)
TWO_ACCOUNTS = Bounds(accounts=(0, 1), requests=2)
SHORT = {"sqlite": TWO_CLIENTS, "postgres": ONE_CLIENT}
LONG = {"sqlite": TWO_ACCOUNTS, "postgres": TWO_CLIENTS, "pgbouncer": TWO_CLIENTS}


@pytest.mark.parametrize(("engine", "bounds"), (LONG if LONG_FORM else SHORT).items())
async def test_a_store_follows_the_model_over_every_transition(
    engine: str, bounds: Bounds, open_store: OpenStore, clock: Clock
) -> None:
    async with held(open_store, clock, wall_counts=engine != "sqlite") as store:
        for walk in walks(bounds):
            await follow(World(store, bounds.initial), walk)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_no_store_follows_a_protocol_with_an_error(
    open_store: OpenStore, clock: Clock
) -> None:
    followed = []
    async with held(open_store, clock, wall_counts=False) as store:
        for mutant in MUTANTS:
            try:
                world = World(store, mutant.bounds.initial, mutant.protocol())
                await follow(world, way_to_the_error(mutant))
            except Disagreement:
                continue
            followed.append(mutant.protocol.__name__)

    assert followed == []


async def follow(world: World, walk: Iterable[Action]) -> None:
    """Takes a store along a walk."""
    for action in walk:
        before = world.state
        if (await world.does(action)).after != before:
            await world.agrees()
    await world.agrees()


def way_to_the_error(mutant: Mutant) -> list[Action]:
    """Where a protocol breaks its promise, and no shorter."""
    with pytest.raises(Broken) as found:
        explore(mutant.protocol(), mutant.bounds, lambda state: state, {mutant.breaks})
    return [step.action for step in found.value.path]
