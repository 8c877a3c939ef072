"""Programs that are built or downloaded before they are measured, all below `build/bench`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["CERBOS_PROGRAM", "ROOT", "UnavailableError", "cerbos", "go_sidecar", "release"]

ROOT: Final = Path(__file__).parent.parent
# The last commit before the serving path left asyncio.
RELEASE: Final = "978e661"
CERBOS: Final = "@cerbos/cerbos-linux-x64"
CERBOS_VERSION: Final = "0.55.0"
GO_PACKAGES: Final = (
    *("golang-go", "golang-google-grpc-dev", "golang-google-genproto-dev", "protobuf-compiler"),
    *("golang-google-protobuf-dev", "golang-github-golang-protobuf-1-5-dev"),
    *("protoc-gen-go", "protoc-gen-go-grpc"),
)

_BUILT: Final = ROOT / "build" / "bench"
CERBOS_PROGRAM: Final = _BUILT / "cerbos" / "node_modules" / CERBOS / "cerbos-linux-x64"
# Debian's Go packages are sources below this GOPATH.
_DEBIAN_GO: Final = "/usr/share/gocode"
_BUILD_TIMEOUT_S: Final = 600


class UnavailableError(Exception):
    """A program cannot be had here; the text is one line and names what is missing."""


@cache
def release() -> Path:
    """The source tree of the release before, exported from the repository.

    Raises:
        UnavailableError: the repository lacks that commit.
    """
    tree = _BUILT / f"release-{RELEASE}"
    if not tree.exists():
        partial = tree.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        archive = partial / "release.tar"
        _run(
            *("git", "archive", f"--output={archive}", RELEASE, "liquidation", "server.py"),
            why=f"commit {RELEASE} is not in this repository",
        )
        _run("tar", "-xf", str(archive), "-C", str(partial), why="tar failed")
        partial.rename(tree)
    return tree


@cache
def go_sidecar() -> Path:
    """The program built of `bench/go` and the generated code of `proto/`.

    Raises:
        UnavailableError: Go or its packages are not installed.
    """
    hint = f"it needs Debian's packages {' '.join(GO_PACKAGES)}"
    if missing := [each for each in ("go", "protoc", "protoc-gen-go") if not shutil.which(each)]:
        raise UnavailableError(f"{missing[0]} is not installed: {hint}")
    place = _BUILT / "go"
    source = place / "src" / "sidecar"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for file in Path(__file__).with_name("go").glob("*.go"):
        shutil.copy(file, source)
    protos = [str(file.relative_to(ROOT / "proto")) for file in _protos()]
    packages = [
        f"--{plugin}_opt=M{proto}=liquidation/v1"
        for proto in protos
        for plugin in ("go", "go-grpc")
    ]
    out = (f"--go_out={place / 'src'}", f"--go-grpc_out={place / 'src'}")
    _run("protoc", f"-I{ROOT / 'proto'}", *out, *packages, *protos, why=hint)
    environment = {
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": f"{place}:{_DEBIAN_GO}",
        "GOCACHE": str(place / "cache"),
    }
    _run("go", "build", "-o", str(place / "sidecar"), "sidecar", why=hint, environment=environment)
    return place / "sidecar"


def _protos() -> list[Path]:
    return sorted((ROOT / "proto" / "liquidation" / "v1").glob("*.proto"))


@cache
def cerbos() -> Path:
    """Cerbos' own program, from npm.

    Raises:
        UnavailableError: npm is not installed, or cannot have the package.
    """
    if not CERBOS_PROGRAM.exists():
        package = f"{CERBOS}@{CERBOS_VERSION}"
        if sys.platform != "linux" or os.uname().machine != "x86_64" or not shutil.which("npm"):
            raise UnavailableError(f"it needs npm's package {package} on Linux, x86_64")
        place = CERBOS_PROGRAM.parents[3]
        place.mkdir(parents=True, exist_ok=True)
        command = ("npm", "install", "--no-save", f"--prefix={place}", package)
        _run(*command, why=f"npm cannot install {package}")
    return CERBOS_PROGRAM


def _run(*command: str, why: str, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{why} ({error})") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        raise UnavailableError(f"{why} ({command[0]}: {lines[-1]})")
