"""Mutants are tried as they are in a long run: a few of the rules', and some of a weak test."""

import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from tests.mutation.mutants import Identity, mutants
from tests.mutation.report import faults, lines, rows
from tests.mutation.run import tried
from tests.mutation.suites import SUITES, Suite
from tests.mutation.survivors import Explained, read
from tests.mutation.trees import ROOT, Outcome, copied

# Whatever is drawn of these must be seen by their own tests; the long run has all modules.
SAMPLED: Final = Suite(
    "liquidation/rules",
    ("leases.py", "margin.py"),
    ("tests/unit/test_leases.py", "tests/unit/test_margin.py", "--confcutdir=tests/unit"),
)
SEED: Final = 20261123

REACHED: Final = "def reached(notional, threshold):\n    return notional >= threshold\n"
WEAK: Final = "from core.weak import reached\n\ndef test_more():\n    assert reached(2, 1)\n"
STRONG: Final = "from core.strong import reached\n\ndef test_equal():\n    assert reached(1, 1)\n"
SURVIVOR: Final = Identity(
    "core/weak.py", "reached", "- return notional >= threshold\n+ return notional > threshold"
)


def test_a_sample_of_the_mutants_of_the_rules_is_killed(tmp_path: Path) -> None:
    explained = read().reasons
    made = [each for path in SAMPLED.paths(ROOT) for each in mutants(ROOT, path)]
    unexplained = [each for each in made if each.inside and each.identity not in explained]
    sample = Random(SEED).sample(unexplained, 12)

    with copied(tmp_path / "tree", SAMPLED) as tree:
        results = {each.identity: outcome for each, outcome in tried(tree, sample, tree.reach())}

    assert len(results) == 12
    assert list(faults(results, Explained({}), at_least=100)) == []


def test_what_a_weak_test_lets_through_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, text in {
        "core/weak.py": REACHED,
        "core/strong.py": REACHED,
        "tests/__init__.py": "",
        "tests/test_weak.py": WEAK,
        "tests/test_strong.py": STRONG,
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "tests" / "mutation", root / "tests" / "mutation")
    suite = Suite("core", ("*.py",), ("tests/test_weak.py", "tests/test_strong.py"))
    made = [each for path in suite.paths(root) for each in mutants(root, path)]

    with copied(tmp_path / "tree", suite, root) as tree:
        reach = tree.reach()
        results = {each.identity: outcome for each, outcome in tried(tree, made, reach)}
        # The same where the mutants are there from the first import on.
        at_import = [replace(each, inside="") for each in made]
        again = {each.identity: outcome for each, outcome in tried(tree, at_import, reach)}

    (told,) = faults(results, Explained({}), at_least=50)
    assert told == "survived: core/weak.py reached\n" + SURVIVOR.change
    strong = results[SURVIVOR._replace(module="core/strong.py")]
    assert (strong.outcome, strong.by) == ("killed", "tests/test_strong.py::test_equal")
    assert {identity: each.outcome for identity, each in again.items()} == {
        identity: each.outcome for identity, each in results.items()
    }
    assert (root / "core" / "weak.py").read_text(encoding="utf-8") == REACHED


def test_a_survivor_with_a_reason_is_no_fault_and_is_still_no_kill() -> None:
    killed = SURVIVOR._replace(module="core/strong.py")
    results = {SURVIVOR: Outcome("survived"), killed: Outcome("killed")}
    explained = Explained({SURVIVOR: "notionals are never equal"})

    assert list(faults(results, explained, at_least=50)) == []
    assert list(faults(results, explained, at_least=50.1)) == [
        "50.0 % were killed, less than 50.1 %"
    ]
    assert list(lines(rows(results, explained), "core"))[2:] == [
        "| core/strong.py | 1 | 1 | 0 | 0 | 0 | 100.0 % |",
        "| core/weak.py | 1 | 0 | 0 | 1 | 1 | 0.0 % |",
        "| core | 2 | 1 | 0 | 1 | 1 | 50.0 % |",
    ]


def test_a_reason_for_what_is_not_there_any_more_is_a_fault() -> None:
    gone = SURVIVOR._replace(change="- return True\n+ return False")
    told = faults({SURVIVOR: Outcome("killed")}, Explained({gone: "an old reason"}), at_least=95)

    assert list(told) == [f"explained, but no mutant: reached\n{gone.change}"]


def test_a_time_out_is_a_kill_of_its_own() -> None:
    results = {SURVIVOR: Outcome("timeout")}

    assert list(faults(results, Explained({}), at_least=100)) == []
    (row,) = rows(results, Explained({}))
    assert (row.killed, row.timeout, row.rate) == (0, 1, 100)


def test_every_module_of_a_room_with_suites_is_in_exactly_one_of_them() -> None:
    for package, suites in SUITES.items():
        there = sorted((ROOT / "liquidation" / package).rglob("*.py"))

        assert there
        assert sorted(path for suite in suites for path in suite.paths(ROOT)) == [
            str(path.relative_to(ROOT)) for path in there
        ]
