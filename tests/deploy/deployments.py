"""How deploy/ starts the service: read from its files, and carried out in a directory."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.processes import ROOT

DEPLOY: Final = ROOT / "deploy"
DOCKERFILE: Final = DEPLOY / "Dockerfile"
UNIT: Final = DEPLOY / "systemd" / "liquidation.service"
MANIFESTS: Final = sorted((DEPLOY / "kubernetes").glob("*.yaml"))

# The directories of the files in deploy/, and what stands for them in a test.
_DIRECTORIES: Final = {
    "/var/lib/liquidation": "store",
    "/var/log/liquidation": "log",
    "/run/liquidation": "run",
    "/etc/liquidation": "etc",
}
# A test takes any free port, of loopback alone.
_ANY_PORT: Final = re.compile(r"\b[\d.]+:(50051|9464)\b")


@dataclass(frozen=True)
class Deployment:
    """A command with its environment, and the commands that ask whether it is well."""

    command: list[str]
    environment: dict[str, str]
    probes: list[list[str]]

    def within(self, directory: Path, command: str) -> "Deployment":
        """The same with its directories inside of another, and `command` as `liquidation`."""
        return Deployment(
            [_placed(word, directory, command) for word in self.command],
            {
                name: _ANY_PORT.sub("127.0.0.1:0", _placed(value, directory, command))
                for name, value in self.environment.items()
                if name.startswith("LIQUIDATION_")
            },
            [[_placed(word, directory, command) for word in probe] for probe in self.probes],
        )


def prepare(directory: Path) -> None:
    """Makes the directories that a deployment finds when it starts."""
    for name in _DIRECTORIES.values():
        (directory / name).mkdir()


def _placed(word: str, directory: Path, command: str) -> str:
    if word in {"liquidation", "/opt/liquidation/bin/liquidation"}:
        return command
    for there, here in _DIRECTORIES.items():
        word = word.replace(there, str(directory / here))
    return word


def resources(path: Path) -> list[dict[str, Any]]:
    """The resources of a manifest."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def resource(kind: str) -> dict[str, Any]:
    """The one resource of a kind."""
    (found,) = (
        each for manifest in MANIFESTS for each in resources(manifest) if each["kind"] == kind
    )
    return found


def pod() -> dict[str, Any]:
    """The pod of the StatefulSet."""
    spec: dict[str, Any] = resource("StatefulSet")["spec"]["template"]["spec"]
    return spec


def sidecar() -> dict[str, Any]:
    """The container of the service."""
    (container,) = pod()["initContainers"]
    found: dict[str, Any] = container
    return found


def in_kubernetes() -> Deployment:
    """The sidecar of the StatefulSet, with its probes."""
    container = sidecar()
    return Deployment(
        ["liquidation", *container["args"]],
        {each["name"]: each["value"] for each in container["env"]},
        [
            container[probe]["exec"]["command"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        ],
    )


def instructions() -> Iterator[tuple[str, str]]:
    """The instructions for the image in their order, with what they say."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            yield name, rest.strip()


def in_an_image() -> Deployment:
    """What the image does when it is told nothing."""
    told = dict(instructions())
    environment = dict(word.partition("=")[::2] for word in shlex.split(told["ENV"]))
    return Deployment(
        [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])],
        environment,
        [json.loads(told["HEALTHCHECK"].partition("CMD ")[2])],
    )


def unit() -> dict[str, list[str]]:
    """What the service's section of the unit says, by key."""
    section = UNIT.read_text(encoding="utf-8").partition("[Service]\n")[2].partition("\n[")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def under_systemd() -> Deployment:
    """What the unit starts, and how it waits for it."""
    told = unit()
    environment = dict(shlex.split(line)[0].partition("=")[::2] for line in told["Environment"])
    return Deployment(
        shlex.split(told["ExecStart"][0]),
        environment,
        [shlex.split(line) for line in told["ExecStartPost"]],
    )
