"""Which mutants are made of a piece of code, and by what they are known."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.mutation.mutants import Mutant, mutants


def made(directory: Path, code: str) -> list[Mutant]:
    (directory / "code.py").write_text(dedent(code), encoding="utf-8")
    return mutants(directory, "code.py")


def changes(directory: Path, code: str) -> set[str]:
    return {each.identity.change.partition("\n+ ")[2] for each in made(directory, code)}


def test_a_comparison_is_moved_to_the_other_side_of_its_bound(tmp_path: Path) -> None:
    code = """
        def reached(notional, threshold):
            return notional >= threshold
    """

    (mutant,) = made(tmp_path, code)

    assert mutant.identity == (
        "code.py",
        "reached",
        "- return notional >= threshold\n+ return notional > threshold",
    )
    assert (mutant.inside, list(mutant.lines)) == ("reached", [3])
    assert mutant.source.endswith("    return notional > threshold\n")


def test_constants_class_bodies_and_decorated_functions_are_changed_too(tmp_path: Path) -> None:
    code = """
        LIMIT = 8

        class Rule:
            name = "limit"

            @property
            def most(self):
                return self.least + 1
    """

    assert {(each.identity.function, each.inside) for each in made(tmp_path, code)} == {
        ("", ""),
        ("Rule", ""),
        ("Rule.most", "Rule.most"),
    }
    assert changes(tmp_path, code) >= {"LIMIT = 9", 'name = "XXlimitXX"', "return self.least + 2"}


def test_a_default_is_changed_for_whoever_imports_it(tmp_path: Path) -> None:
    (mutant,) = made(tmp_path, "def page(size=100):\n    return size\n")

    assert (mutant.identity.change, mutant.inside) == (
        "- def page(size=100):\n+ def page(size=101):",
        "",
    )


@pytest.mark.parametrize(
    "code",
    [
        '"""Words on the module."""\n',
        '__all__ = ["reached"]\n',
        'T = TypeVar("T")\n',
        "from decimal import Decimal as D\n",
        'def told(text: "str | None"):\n    """Words."""\n    assert text, "never empty"\n',
    ],
    ids=["docstring", "__all__", "type variable", "import", "annotation and assertion"],
)
def test_what_only_readers_and_type_checkers_see_is_left_as_it_is(
    tmp_path: Path, code: str
) -> None:
    assert made(tmp_path, code) == []


def test_a_mutant_is_known_by_its_change_wherever_it_stands(tmp_path: Path) -> None:
    code = "def twice(n):\n    return n * 2\n"
    before = [each.identity for each in made(tmp_path, code)]

    assert [each.identity for each in made(tmp_path, f"# A word.\n\n{code}")] == before


def test_the_same_change_of_two_equal_lines_is_two_mutants(tmp_path: Path) -> None:
    code = "def f(n):\n    n = n + 1\n    n = n + 1\n    return n\n"

    names = [each.identity for each in made(tmp_path, code)]

    assert len(names) == len(set(names)) == 6
    assert sum("(2)" in name.change for name in names) == 3


def test_a_statement_of_sql_is_changed_into_another_that_would_run(tmp_path: Path) -> None:
    code = '''
        EXPIRED = """
            SELECT claim_id FROM claim
            WHERE state = 'ACTIVE' AND expire_time <= now() AND end_time IS NULL
        """
    '''

    assert {change.strip() for change in changes(tmp_path, code)} >= {
        "WHERE state <> 'ACTIVE' AND expire_time <= now() AND end_time IS NULL",
        "WHERE state = 'ACTIVE' AND expire_time < now() AND end_time IS NULL",
        "WHERE state = 'ACTIVE' OR expire_time <= now() AND end_time IS NULL",
        "WHERE state = 'ACTIVE' AND expire_time <= now() AND end_time IS NOT NULL",
    }


def test_letters_of_sql_are_left_as_they_are(tmp_path: Path) -> None:
    code = "def page(where):\n    return f'SELECT * FROM claim {where}' + ' ORDER BY time DESC'\n"

    assert not any("XX" in change for change in changes(tmp_path, code))
