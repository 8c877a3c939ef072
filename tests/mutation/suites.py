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
    """Patterns of file names."""
    arguments: tuple[str, ...]
    """What pytest is told: the tests, and options."""
    postgres: bool = False

    def paths(self, root: Path) -> list[str]:
        """The modules, as paths below `root`, by name."""
        found = {path for name in self.modules for path in (root / self.package).glob(name)}
        return sorted(str(path.relative_to(root)) for path in found)


# That the core is pure is read from its source: no mutant changes it.
_CORE: Final = ("tests/core", "--confcutdir=tests/core", "--ignore=tests/core/test_purity.py")
# Some pages are compared with the tables of the core.
_WITH_PAGES: Final = (
    *_CORE,
    "tests/test_docs.py",
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
    "core": (
        Suite("liquidation/core", ("catalogue.py", "policy_keys.py"), _WITH_PAGES),
        Suite("liquidation/core", ("[!cp]*.py", "policy.py"), _CORE),
    ),
    "store": (
        # What both engines share is judged by the one that is a hundred times as fast.
        Suite(
            "liquidation/store",
            ("[!bcops]*.py", "base.py", "clock.py", "sqlite.py", "sqlite*[!e].py"),
            _SQLITE_ALONE,
        ),
        Suite(
            "liquidation/store",
            (
                *("batches.py", "copying.py", "opening.py", "postgres.py", "sqlite_source.py"),
                *("postgres_[!s]*.py", "postgres_schema.py", "postgres_states.py"),
            ),
            _STORE,
            postgres=True,
        ),
        # What these tell is told by the command line.
        Suite(
            "liquidation/store",
            ("postgres_script.py", "postgres_status.py"),
            (
                "tests/store/test_postgres_status.py",
                "tests/cli/test_db.py",
                "-ptests.postgres.plugin",
            ),
            postgres=True,
        ),
    ),
}
AT_LEAST: Final = {"core": 95.0, "store": 90.0}
"""The share of mutants that must be killed, in percent."""
