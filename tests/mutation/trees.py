"""Copies of the tree in which mutants are made, with the workers that run tests in them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.mutation.mutants import Mutant
from tests.mutation.suites import Suite

__all__ = ["AT_IMPORT", "ROOT", "Outcome", "Reach", "Tree", "copied"]

ROOT: Final = Path(__file__).parent.parent.parent
AT_IMPORT: Final = ""
"""Stands among the tests that reach a line for whatever imports the modules."""
_LEFT_BEHIND: Final = (".*", "build", "dist", "*.egg-info", "*.log", "*.db*")


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant, and which test saw it first."""

    outcome: Literal["killed", "survived", "timeout"]
    seconds: float = 0.0
    by: str = ""


@dataclass(frozen=True)
class Reach:
    """What each test takes, in seconds, and which tests reach a line of a module."""

    usual_s: dict[str, float]
    by_line: dict[str, dict[int, frozenset[str]]]

    def of(self, module: str, lines: Sequence[int]) -> frozenset[str]:
        """The tests that run any of these lines."""
        reached = self.by_line.get(module, {})
        return frozenset().union(*(reached.get(line, frozenset()) for line in lines))


class BrokenError(Exception):
    """The harness could not run the tests, so nothing is known of the mutant."""


class Tree:
    """A copy of the tree, and the workers in it."""

    def __init__(self, directory: Path, suite: Suite) -> None:
        self._directory = directory
        self._suite = suite
        self._workers = ExitStack()
        self._fresh = self._worker("fresh")
        self._warm: _Worker | None = None

    def reach(self) -> Reach:
        """Runs all tests as the tree is.

        Raises:
            BrokenError: a test fails: then no failure would tell anything about a mutant.
        """
        wish = {"source": self._suite.package, "arguments": self._suite.arguments}
        answer = self._fresh.ask(wish)
        noted = json.loads((self._scratch("fresh") / "noted.json").read_text(encoding="utf-8"))
        if answer["outcome"] != "survived" or noted["status"] != 0:
            raise BrokenError(f"tests fail without a mutant: {self._scratch('fresh')}/output.log")
        by_line = {
            module: {int(line): frozenset(tests) for line, tests in lines.items()}
            for module, lines in noted["reached"].items()
        }
        return Reach(noted["usual_s"], by_line)

    def freshly(self, mutant: Mutant, tests: Sequence[str], reach: Reach) -> Outcome:
        """What `tests` say where the mutant is imported; the first that fails ends the run."""
        files = sorted({test.partition("::")[0] for test in tests})
        options = [each for each in self._suite.arguments if each.startswith("-")]
        wish = {**_wish(mutant, tests, reach), "arguments": [*options, *files]}
        return _outcome(self._fresh.ask(wish))

    def warmly(self, mutant: Mutant, tests: Sequence[str], reach: Reach) -> Outcome:
        """The same where the changed function is put in the place of the one that was imported."""
        if self._warm is None:
            self._warm = self._worker("warm", *self._suite.arguments)
        wish = {**_wish(mutant, tests, reach), "function": mutant.inside}
        return _outcome(self._warm.ask(wish))

    def close(self) -> None:
        """Ends the workers, and the servers that they share among their runs."""
        self._workers.close()

    def _worker(self, mode: str, *arguments: str) -> "_Worker":
        postgres = "postgres" if self._suite.postgres else "none"
        scratch = self._scratch(mode)
        scratch.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.mutation.worker", mode, str(scratch), postgres]
        return self._workers.enter_context(_Worker.started([*command, *arguments], self._directory))

    def _scratch(self, mode: str) -> Path:
        return self._directory.with_name(f"{self._directory.name}-{mode}")


class _Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls, command: Sequence[str], directory: Path) -> Iterator["_Worker"]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=directory, stdin=pipe, stdout=pipe, text=True)
        try:
            yield cls(process)
        finally:
            process.communicate()

    def ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BrokenError("a worker ended; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _wish(mutant: Mutant, tests: Sequence[str], reach: Reach) -> dict[str, Any]:
    return {
        "path": mutant.identity.module,
        "mutated": mutant.source,
        "tests": list(tests),
        "usual_s": reach.usual_s,
    }


def _outcome(answer: dict[str, Any]) -> Outcome:
    if answer["outcome"] == "broken":
        raise BrokenError("the run of a mutant failed on its own")
    return Outcome(**answer)


@contextmanager
def copied(directory: Path, suite: Suite, root: Path = ROOT) -> Iterator[Tree]:
    """A copy of the tree at `root` in `directory`, where the mutants of a package are made."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(root, directory, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
    tree = Tree(directory, suite)
    try:
        yield tree
    finally:
        tree.close()
