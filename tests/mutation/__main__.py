"""Mutates a package from the command line, and prints the table and what is wrong with it."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Final

from tests.mutation.mutants import Identity, Mutant, mutants
from tests.mutation.report import faults, lines, rows
from tests.mutation.run import tried
from tests.mutation.suites import AT_LEAST, SUITES, Suite
from tests.mutation.survivors import Explained, read
from tests.mutation.trees import ROOT, Outcome, copied

_BUILD: Final = ROOT / "build" / "mutation"


def main() -> int:
    """Mutates as told; the exit status is 1 where something is wrong."""
    options = _options()
    found = _BUILD / f"{options.package}.jsonl"
    found.parent.mkdir(parents=True, exist_ok=True)
    before = _read(found) if options.again or options.untried else {}
    explained = read()
    results: dict[Identity, Outcome] = {}
    with found.open("a" if before else "w", encoding="utf-8") as file:

        def note(identity: Identity, outcome: Outcome) -> None:
            results[identity] = outcome
            print(json.dumps([*identity, asdict(outcome)]), file=file, flush=True)

        for suite in SUITES[options.package]:
            made = [
                mutant
                for path in suite.paths(ROOT)
                if not options.module or Path(path).stem in options.module
                for mutant in mutants(ROOT, path)
            ]
            names = [each.identity for each in made]
            results |= {name: before[name] for name in names if name in before}
            again = set() if options.untried else _survivors(before, explained)
            done = before.keys() - again
            left = [each for each in made if each.identity not in done]
            left.sort(key=lambda mutant: not mutant.inside)
            _try(suite, left, options.most_s, note)
    for line in lines(rows(results, explained), options.package):
        print(line)
    wrong = list(faults(results, explained, AT_LEAST[options.package]))
    for fault in wrong:
        print(fault, file=sys.stderr)
    return int(bool(wrong))


def _try(
    suite: Suite,
    left: Sequence[Mutant],
    most_s: float,
    note: Callable[[Identity, Outcome], None],
) -> None:
    print(f"{len(left)} mutants of {suite.package} to be tried", file=sys.stderr, flush=True)
    if not left:
        return
    with (
        tempfile.TemporaryDirectory(prefix="mutation-") as scratch,
        copied(Path(scratch) / "tree", suite) as tree,
    ):
        for mutant, outcome in tried(tree, left, tree.reach(), most_s):
            note(mutant.identity, outcome)


def _survivors(before: Mapping[Identity, Outcome], explained: Explained) -> set[Identity]:
    """What survived, and nobody has explained."""
    found = {identity for identity, outcome in before.items() if outcome.outcome == "survived"}
    return found - explained.reasons.keys()


def _read(path: Path) -> dict[Identity, Outcome]:
    """What earlier runs found; of a mutant that was tried again, the last word counts."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {Identity(*identity): Outcome(**outcome) for *identity, outcome in found}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("package", choices=SUITES)
    parser.add_argument("--module", action="append", help="only this module; repeatable")
    parser.add_argument(
        "--again",
        action="store_true",
        help="only what survived before without a reason, or was not tried",
    )
    parser.add_argument("--untried", action="store_true", help="only what was not tried before")
    parser.add_argument(
        "--most-s",
        type=float,
        default=inf,
        metavar="S",
        help="leave out tests that take longer; what survives then is for a run with --again",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
