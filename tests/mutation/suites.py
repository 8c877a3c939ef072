"""Which tests speak for which modules, and how many of their mutants they must kill."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["AT_LEAST", "SUITES", "Suite"]


@dataclass(frozen=True)
class Suite:
    """Modules, and the tests that speak for them."""

    package: str
    modules: tuple[str, ...]
    """Patterns of paths below the package."""
    arguments: tuple[str, ...]
    """What pytest is told: the tests, and options."""
    postgres: bool = False

    def paths(self, root: Path) -> list[str]:
        """The modules, as paths below `root`, by name."""
        found = {path for name in self.modules for path in (root / self.package).glob(name)}
        return sorted(str(path.relative_to(root)) for path in found)


# That the rules are pure is read from its source: no mutant changes it.
_RULES: Final = ("tests/unit", "--confcutdir=tests/unit", "--ignore=tests/unit/test_purity.py")
# Some pages are compared with the tables of the rules.
_WITH_PAGES: Final = (
    *_RULES,
    "tests/deploy/test_docs.py",
    "-knot test_docs or error_codes or rules_file or bounds or page_of_settings",
)
_STORE: Final = ("tests/store", "--confcutdir=tests/store", "-ptests.postgres.plugin")
_SQLITE_ALONE: Final = (
    *_STORE,
    "-knot test_postgres and not [postgres] and not [postgres- and not pgbouncer",
    "--ignore=tests/store/test_opening.py",
    "--ignore-glob=tests/store/test_copying*.py",
    "--ignore=tests/store/test_processes.py",
)

SUITES: Final = {
    "rules": (
        Suite("liquidation/rules", ("errors.py", "policy_keys.py"), _WITH_PAGES),
        Suite("liquidation/rules", ("[!ep]*.py", "e[!r]*.py", "parse.py", "policy.py"), _RULES),
    ),
    "auth": (Suite("liquidation/auth", ("*.py",), _RULES),),
    "store": (
        # What both engines share is judged by the one that is a hundred times as fast.
        Suite(
            "liquidation/store",
            ("sql.py", "[!cos]*.py", "sqlite/[!s]*.py", "sqlite/s[!o]*.py"),
            _SQLITE_ALONE,
        ),
        Suite(
            "liquidation/store",
            (
                *("copying.py", "opening.py", "sqlite/source.py", "postgres/[!s]*.py"),
                *("postgres/schema.py", "postgres/states.py", "postgres/store.py"),
            ),
            _STORE,
            postgres=True,
        ),
        # What these tell is told by the command line.
        Suite(
            "liquidation/store",
            ("postgres/status.py",),
            (
                "tests/store/test_postgres_status.py",
                "tests/cli/test_db.py",
                "-ptests.postgres.plugin",
            ),
            postgres=True,
        ),
    ),
}
AT_LEAST: Final = {"rules": 95.0, "auth": 95.0, "store": 90.0}
"""The share of mutants that must be killed, in percent."""
