"""Worlds drawn by Hypothesis, and thousands of requests in each, asked of a real server."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import seed as reproducible
from hypothesis import strategies as st

from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.asking import Asking
from tests.attacks.oracle.sidecar import LOG, RULES_FILE, connected
from tests.attacks.oracle.tally import Tally
from tests.attacks.oracle.worlds import drawn_world, rules_in_force, rules_text
from tests.processes import serving
from tests.unit.seeded import seeded


@dataclass(frozen=True)
class Plan:
    """How much is asked. Another `seed` draws other worlds and requests."""

    worlds: int
    cases: int
    seed: int = 0


def run(
    plan: Plan, directory: Path, rules_of: Callable[[InForce], InForce] = lambda each: each
) -> Tally:
    """Asks as planned. `rules_of` are the rules that the server is given for those of a world.

    Raises:
        DisagreementError: at the end of the first world where there is one.
    """
    tally, numbers = Tally(), count(1)
    (directory / RULES_FILE).write_text('version = "none"')

    with (
        serving(directory, "--rules", RULES_FILE, "--log-file", LOG) as process,
        asyncio.Runner() as runner,
    ):
        stack = AsyncExitStack()
        sidecar = runner.run(stack.enter_async_context(connected(process, directory)))

        # A disagreement is one small request already: nothing is won where a world is made smaller.
        @reproducible(plan.seed)
        @settings(seeded(1), max_examples=plan.worlds, derandomize=False, phases=(Phase.generate,))
        @given(rules_in_force(), st.integers(1, 24), st.integers(0, 2**64))
        def agree(in_force: InForce, subjects: int, seed: int) -> None:
            own_seed = f"{plan.seed}:{seed}"
            world = drawn_world(Random(own_seed), in_force, next(numbers), subjects)
            asking = Asking(sidecar, world, own_seed, tally)
            runner.run(asking.ask(plan.cases, rules_text(rules_of(in_force), asking.version)))

        try:
            agree()
        finally:
            runner.run(stack.aclose())
    return tally
