"""The second reading of the contract is a second one: it shares no code with the first."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What decides on the answer, of everything here.
EVALUATOR = ("answers", "evaluator", "form", "margins", "numbers", "question")
STANDARD = {"collections.abc", "dataclasses", "decimal", "fractions", "functools", "re", "typing"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""


@pytest.mark.parametrize("part", EVALUATOR)
def test_the_evaluator_imports_itself_and_the_standard_library_alone(part: str) -> None:
    own = {f"tests.attacks.oracle.{each}" for each in EVALUATOR}

    assert set(_imports(HERE / f"{part}.py")) <= STANDARD | own


@pytest.mark.parametrize("part", EVALUATOR)
def test_the_evaluator_imports_nothing_by_another_way(part: str) -> None:
    names = {
        node.id
        for node in ast.walk(ast.parse((HERE / f"{part}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }

    assert not names & {"__import__", "import_module", "exec", "eval", "open"}
