"""What the clients are made of: a schema ahead of the server's, Node's packages, the C++ programs.

All of it is made once, in build/interop, and made again when what it is made of has changed.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from tests.attacks.interop.questions import NEW_FIELD
from tests.processes import ROOT

_BUILT: Final = ROOT / "build" / "interop"
_HERE: Final = Path(__file__).parent
_PROTO: Final = ROOT / "proto"
_NODE: Final = ROOT / "examples" / "node"
_CPP: Final = ROOT / "examples" / "cpp"
# What builds the C++ programs, each with the package of Debian that has it.
_CPP_TOOLS: Final = {
    "g++": "g++",
    "pkg-config": "pkgconf",
    "protoc": "protobuf-compiler",
    "grpc_cpp_plugin": "protobuf-compiler-grpc",
}


def newer_protos() -> Path:
    """proto/ with one field more in ClaimTerms: the schema of clients ahead of the server."""
    made = _BUILT / "proto"

    def make() -> None:
        shutil.copytree(_PROTO, made)
        terms = made / "liquidation" / "v1" / "liquidation.proto"
        text = terms.read_text(encoding="utf-8")
        last = "  map<string, string> limit_price = 6;\n"
        assert text.count(last) == 1
        name, number = NEW_FIELD
        terms.write_text(text.replace(last, f"{last}  string {name} = {number};\n"))

    _once(made, _protos(), make)
    return made


def newer_schema() -> Path:
    """The same as a descriptor set."""
    protos, made = newer_protos(), _BUILT / "newer.binpb"
    buf = Path(sys.executable).parent / "buf"
    _once(made, _protos(), lambda: _run([buf, "build", protos, "-o", made]))
    return made


@cache
def node_directory() -> Path | str:
    """Where Node's packages are, beside the scripts; or why there is none."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "it needs Debian's packages nodejs and npm"
    made = _BUILT / "node" / "examples" / "node"
    packages = [_NODE / name for name in ("package.json", "package-lock.json", ".npmrc")]
    scripts = [*packages, *sorted(_NODE.glob("*.mjs")), _HERE / "ask.mjs"]

    def make() -> None:
        made.mkdir(parents=True)
        for source in scripts:
            shutil.copy(source, made)
        # The example reads proto/ where it finds it from its place in the repository. No link: who
        # walks the tree to build the sdist would take the place that it leads to as visited.
        shutil.copytree(_PROTO, _BUILT / "node" / "proto")
        _run(["npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1"], made)

    try:
        _once(_BUILT / "node", [*scripts, *_protos()], make)
    except subprocess.CalledProcessError as error:
        return f"npm installs nothing here: {error.stderr.strip().splitlines()[-1]}"
    return made


def cpp_programs(*, make: bool) -> Path | str:
    """Where `ask` and `check_claim` are, or why they are not; without `make` they are not built."""
    for tool, package in _CPP_TOOLS.items():
        if not shutil.which(tool):
            return f"it needs Debian's package {package}"
    if subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False).returncode:
        return "it needs Debian's package libgrpc++-dev"
    made = _BUILT / "cpp"
    sources = [*_protos(), *sorted(_CPP.glob("*.cc")), _CPP / "Makefile", _HERE / "ask.cc"]
    if not make and _stamp(made, sources) is not None:
        return "the C++ clients are not built; `make interop` does"
    protos = newer_protos()

    def build() -> None:
        made.mkdir(parents=True)
        shutil.copy(_HERE / "ask.cc", made)
        _run(["make", "-f", _CPP / "Makefile", f"PROTO={protos}", "check_claim", "ask"], made)

    _once(made, sources, build)
    return made


def _protos() -> list[Path]:
    return sorted(_PROTO.rglob("*.proto"))


def _once(made: Path, sources: Iterable[Path], make: Callable[[], object]) -> None:
    """Makes what is not there, or was made of something else; one process at a time."""
    sources = list(sources)
    with _turn(made.name):
        stamp = _stamp(made, sources)
        if stamp is None:
            return
        shutil.rmtree(made, ignore_errors=True)
        make()
        _stamped(made).write_text(stamp)


def _stamp(made: Path, sources: Iterable[Path]) -> str | None:
    """What to write down of the sources; None where that stands there already."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for source in sources:
        digest.update(source.read_bytes())
    stamp = digest.hexdigest()
    stamped = _stamped(made)
    is_current = made.exists() and stamped.exists() and stamped.read_text() == stamp
    return None if is_current else stamp


def _stamped(made: Path) -> Path:
    return made.with_name(f"{made.name}.sha256")


@contextmanager
def _turn(name: str) -> Iterator[None]:
    _BUILT.mkdir(parents=True, exist_ok=True)
    with (_BUILT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str | Path], directory: Path = ROOT) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
