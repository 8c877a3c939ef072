"""Tries mutants one after the other, with the tests that have a say in each first."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.mutation.mutants import Mutant
from tests.mutation.trees import AT_IMPORT, BrokenError, Outcome, Reach, Tree

__all__ = ["tried"]


def tried(tree: Tree, mutants: Iterable[Mutant], reach: Reach) -> Iterator[tuple[Mutant, Outcome]]:
    """What became of each mutant.

    One that no test reaches has survived. What killed others in the same function is run first.
    """
    killers: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for mutant in mutants:
        module, function, _ = mutant.identity
        before = killers[module, function]
        outcome = _tried(tree, mutant, reach, before)
        if outcome.by:
            before[outcome.by] += 1
        yield mutant, outcome


def _tried(tree: Tree, mutant: Mutant, reach: Reach, killers: Counter[str]) -> Outcome:
    reached = reach.of(mutant.identity.module, mutant.lines)

    def ordered(tests: Iterable[str]) -> list[str]:
        def place(test: str) -> tuple[int, bool, float, str]:
            unlikely = not _speaks_for(test, mutant.identity.module)
            return -killers[test], unlikely, reach.usual_s[test], test

        return sorted(tests, key=place)

    if mutant.inside and not reached:
        return Outcome("survived")
    if mutant.inside and (tests := ordered(reached - {AT_IMPORT})):
        with suppress(BrokenError):  # code that cannot take the place of the other
            return tree.warmly(mutant, tests, reach)
    tests = ordered(reach.usual_s)
    # To collect a file takes longer than to run its tests, so the likely ones come alone first.
    likely = [test for test in tests if killers[test] or _speaks_for(test, mutant.identity.module)]
    if likely and (outcome := tree.freshly(mutant, likely, reach)).outcome != "survived":
        return outcome
    return tree.freshly(mutant, [test for test in tests if test not in set(likely)], reach)


def _speaks_for(test: str, module: str) -> bool:
    return Path(test.partition("::")[0]).stem == f"test_{Path(module).stem}"
