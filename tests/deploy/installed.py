"""The service installed from its wheel, in an environment of its own, without the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.processes import ROOT, Process


@dataclass(frozen=True)
class Built:
    """What is handed out."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Installation:
    """A virtual environment that holds the wheel, and the packages that it asks for."""

    directory: Path

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")

    @property
    def command(self) -> str:
        return str(self.directory / "bin" / "liquidation")

    def run(self, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
        """A program of the environment, run in `directory` until it ends."""
        return subprocess.run(
            arguments,
            check=False,
            cwd=directory,
            env=_environment(),
            capture_output=True,
            text=True,
        )

    @contextmanager
    def serving(
        self, directory: Path, *command: str, environment: dict[str, str] | None = None
    ) -> Iterator[Process]:
        """`liquidation serve`, or another `command`, in `directory`; killed where it still runs."""
        with subprocess.Popen(
            command or (self.command, "serve"),
            cwd=directory,
            env=_environment() | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as popen:
            assert popen.stdout is not None
            assert popen.stderr is not None
            try:
                line = popen.stdout.readline()
                assert line, popen.stderr.read()
                yield Process(popen, json.loads(line))
            finally:
                popen.kill()


def build(directory: Path) -> Built:
    """Makes the sdist of this tree, and the wheel of what the sdist holds."""
    sdist = _made_by_hatchling(ROOT, "sdist", directory)
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    unpacked = directory / sdist.name.removesuffix(".tar.gz")
    return Built(sdist, _made_by_hatchling(unpacked, "wheel", directory))


def install(wheel: Path, directory: Path, *extras: str) -> Installation:
    """Installs a wheel beside what it and its `extras` need, and nothing else of what is here."""
    venv.create(directory, symlinks=True)
    installation = Installation(directory)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", installation.python, "install", "--quiet"),
            *("--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)),
        ],
        check=True,
    )
    packages = next(directory.glob("lib/python*/site-packages"))
    (metadata,) = packages.glob("liquidation-*.dist-info")
    for name in _needed(Distribution.at(metadata), extras):
        _link(name, packages)
    return installation


def _environment() -> dict[str, str]:
    """That of this process, without what would lead Python or the service to other places."""
    foreign = ("PYTHON", "LIQUIDATION_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _made_by_hatchling(source: Path, kind: str, directory: Path) -> Path:
    made = directory / kind
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(made)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (archive,) = made.iterdir()
    return archive


def _needed(package: Distribution, extras: tuple[str, ...]) -> set[str]:
    """The packages that `package` and its extras ask for, and those that they ask for."""
    found: set[str] = set()
    asking = [(package, ("", *extras))]
    while asking:
        each, its_extras = asking.pop()
        for needed in map(Requirement, each.requires or ()):
            if needed.name not in found and _wanted(needed, its_extras):
                found.add(needed.name)
                asking.append((distribution(needed.name), ("", *needed.extras)))
    return found


def _wanted(needed: Requirement, extras: tuple[str, ...]) -> bool:
    marker = needed.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _link(name: str, packages: Path) -> None:
    """Makes a package that is installed here one of `packages`, without copying it."""
    here = Path(sysconfig.get_paths()["platlib"])
    for file in distribution(name).files or ():
        if ".." in file.parts or file.suffix == ".pyc":
            continue  # a command of the package, or what Python makes itself
        place = packages / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(here / file)
