"""Carries out deploy/Dockerfile without an engine: on a root of its own, laid over this machine's.

To be used by root in a mount namespace of its own; what is written stays in memory, and is gone
with the namespace.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.deploy.deployments import instructions
from tests.processes import ROOT

_PYTHON: Final = Path(sys.base_prefix)


class Image:
    """A root file system as the Dockerfile makes it; this machine's Python stands for its base."""

    def __init__(self, place: Path) -> None:
        """`place` is an empty directory, which gets a file system of its own."""
        _mount("-t", "tmpfs", "tmpfs", place)
        self.root = place / "root"
        for name in ("root", "upper", "work", "volumes"):
            (place / name).mkdir()
        layers = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
        _mount("-t", "overlay", "overlay", "-o", layers, self.root)
        for name in ("proc", "dev"):
            _mount("--rbind", f"/{name}", self.root / name)
        # A user without rights may read the base; here it may be in the home of another.
        for parent in (_PYTHON, *_PYTHON.parents):
            (self.root / parent.relative_to("/")).chmod(0o755)
        self.environment = {"PATH": f"{_PYTHON}/bin:/usr/bin:/bin", "HOME": "/root"}
        self.told: dict[str, str] = {}
        self._directory = "/"
        self._volumes = place / "volumes"

    def build(self) -> None:
        """Follows the instructions; of the two stages' roots there is one."""
        for name, rest in instructions():
            self.told[name] = rest
            match name:
                case "WORKDIR":
                    self._directory = rest
                    self._at(rest).mkdir(parents=True, exist_ok=True)
                case "COPY" if "--from" not in rest:
                    self._copy(*rest.split())
                case "RUN":
                    self.run("sh", "-euc", rest)
                case "ENV":
                    values = (word.partition("=")[::2] for word in shlex.split(rest))
                    self.environment |= {key: self._filled(value) for key, value in values}

    def seal(self) -> None:
        """From now on nothing can be written, but for the volumes."""
        _mount("-o", "remount,ro", self.root)
        for number, volume in enumerate(json.loads(self.told["VOLUME"])):
            there, here = self._at(volume), self._volumes / str(number)
            here.mkdir(mode=there.stat().st_mode & 0o777)
            os.chown(here, there.stat().st_uid, there.stat().st_gid)
            _mount("--bind", here, there)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as root, while the image is made; it must succeed."""
        return subprocess.run(self._entered(*command), check=True, text=True, stdout=sys.stderr)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Starts a command as the image's user, without any right that root has."""
        return subprocess.Popen(
            self._as_user(*command, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as the image's user until it ends."""
        return subprocess.run(self._as_user(*command), check=False, text=True, capture_output=True)

    def place_of(self, path: str) -> Path:
        """Where something of the image is, as this process sees it."""
        return self._at(path)

    def _as_user(self, *command: str, **environment: str) -> list[str]:
        user, group = self.told["USER"].split(":")
        rights = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups")
        return self._entered(
            "setpriv", *rights, f"--reuid={user}", f"--regid={group}", *command, **environment
        )

    def _entered(self, *command: str, **environment: str) -> list[str]:
        variables = [f"{key}={value}" for key, value in (self.environment | environment).items()]
        inside = ["env", "--ignore-environment", f"--chdir={self._directory}", *variables]
        return ["chroot", str(self.root), *inside, *command]

    def _copy(self, *words: str) -> None:
        *sources, target = words
        for source in sources:
            to = self._at(target)
            if source.endswith("/"):
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(ROOT / source, to)

    def _filled(self, value: str) -> str:
        return value.replace("$PATH", self.environment["PATH"])

    def _at(self, path: str) -> Path:
        return self.root / (Path(self._directory) / path).relative_to("/")


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)
