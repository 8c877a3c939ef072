"""Tries mutants one after the other, with the tests that have a say in each first."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

from tests.mutation.mutants import Mutant
from tests.mutation.trees import AT_IMPORT, BrokenError, Outcome, Reach, Tree

__all__ = ["tried"]

# What the values of every module are, and what they hold where nothing is said.
_SPEAK_FOR_ALL: Final = {"test_records", "test_value"}


def tried(
    tree: Tree, mutants: Iterable[Mutant], reach: Reach, most_s: float = inf
) -> Iterator[tuple[Mutant, Outcome]]:
    """What became of each mutant.

    One that no test reaches has survived. What killed others in the same function is run first.
    Tests that take longer than `most_s` are left out.
    """
    left_out = {test for test, usual_s in reach.usual_s.items() if usual_s > most_s}
    killers: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for mutant in mutants:
        module, function, _ = mutant.identity
        before = killers[module, function]
        outcome = _tried(tree, mutant, reach, before, left_out)
        if outcome.by:
            before[outcome.by] += 1
        yield mutant, outcome


def _tried(
    tree: Tree, mutant: Mutant, reach: Reach, killers: Counter[str], left_out: AbstractSet[str]
) -> Outcome:
    reached = reach.of(mutant.identity.module, mutant.lines)

    def ordered(tests: Iterable[str]) -> list[str]:
        def place(test: str) -> tuple[int, bool, float, str]:
            unlikely = not _speaks_for(test, mutant.identity.module)
            return -killers[test], unlikely, reach.usual_s[test], test

        return sorted(set(tests) - left_out, key=place)

    if mutant.inside and not reached:
        return Outcome("survived")
    if mutant.inside and (tests := ordered(reached - {AT_IMPORT})):
        with suppress(BrokenError):  # code that cannot take the place of the other
            outcome = tree.warmly(mutant, tests, reach)
            if outcome.outcome != "survived" or AT_IMPORT not in reached:
                return outcome
    tests = ordered(reach.usual_s)
    # To collect a file takes longer than to run its tests, so the likely ones come alone first.
    likely = [test for test in tests if killers[test] or _speaks_for(test, mutant.identity.module)]
    if likely and (outcome := tree.freshly(mutant, likely, reach)).outcome != "survived":
        return outcome
    return tree.freshly(mutant, [test for test in tests if test not in set(likely)], reach)


def _speaks_for(test: str, module: str) -> bool:
    stem = Path(test.partition("::")[0]).stem
    path = Path(module)
    # The tests of an engine name it: those of `postgres/begin.py` are in `test_postgres_begin.py`.
    own = {f"test_{path.stem}", f"test_{path.parent.name}_{path.stem}"}
    return stem in _SPEAK_FOR_ALL or stem in own
