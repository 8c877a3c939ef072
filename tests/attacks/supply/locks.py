"""The locks of the image, as they are written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployments import DEPLOY

IMAGE: Final = DEPLOY / "requirements.txt"
# The extras of this project that the image has; `make pin` asks for the same.
EXTRAS: Final = ("cli", "metrics", "otel", "postgres")
BUILD: Final = DEPLOY / "build-requirements.txt"

_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Locked:
    """A package of a lock: its one version, the hashes of its files, and whether it is for here."""

    name: str
    version: str
    hashes: frozenset[str]
    here: bool


def locked(path: Path) -> Iterator[Locked]:
    """The packages that a lock names, in its order."""
    for entry in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        wanted = Requirement(entry.partition(" --hash")[0])
        (version,) = wanted.specifier
        assert version.operator == "=="
        here = wanted.marker is None or wanted.marker.evaluate()
        hashes = frozenset(_HASH.findall(entry))
        yield Locked(canonicalize_name(wanted.name), version.version, hashes, here)
