"""The plan of the code, held by its imports: arrows point down, and the core is pure."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liquidation"

# Each part of the package, and the parts that it may import beside itself. A part that is not
# here has no place in the plan yet.
MAY_IMPORT: dict[str, set[str]] = {
    "v1": set(),
    "core": set(),
    "store": {"core"},
    "logs": {"core"},
    "failures": {"core", "store", "logs"},
    "desk": {"core", "store", "logs", "failures"},
    "register": {"core", "store", "logs", "failures"},
    "claiming": {"core", "store", "logs", "failures", "desk", "register"},
    "claims": {"core", "store", "logs", "failures", "register"},
    "service": {
        "core", "store", "logs", "failures", "desk", "register", "claiming", "claims", "v1",
    },
    # What gRPC is told before it is imported, and what Python's memory is.
    "grpc_environment": set(),
    "heap": set(),
    # What a server is told, and what it reads.
    "addresses": set(),
    "certificates": set(),
    "reloading": set(),
    "listeners": {"addresses", "certificates"},
    "settings": {"core", "store", "logs", "addresses", "listeners"},
    "configuration": {"core", "certificates", "reloading", "settings"},
    # What a server is made of.
    "metrics": {"core", "logs", "addresses", "v1"},
    "logbook": {"logs", "settings"},
    "log_turn": {"store", "logbook"},
    "background": {"store", "logs", "claims", "service", "metrics", "reloading"},
    "changes": {"core", "logs", "configuration", "metrics"},
    "tracing": {"service"},
    "services": {
        "core", "store", "logs", "desk", "register", "claiming", "claims", "service",
        "configuration",
    },
    "transport": {"service", "addresses", "settings", "configuration", "listeners"},
    "serving": {
        "store", "logs", "service", "addresses", "reloading", "settings", "configuration",
        "metrics", "listeners", "logbook", "background", "changes", "tracing", "services",
        "transport", "heap",
    },
    "preflight": {
        "core", "store", "addresses", "settings", "configuration", "metrics", "listeners",
        "tracing",
    },
    "workers": {
        "store", "logs", "addresses", "reloading", "settings", "configuration", "metrics",
        "listeners", "logbook", "log_turn", "serving", "heap",
    },
    # What callers use.
    "values": {"core", "v1"},
    "messages": {"core", "v1", "values"},
    "refused": {"core", "v1", "values", "messages"},
    "calls": {"core", "v1", "values", "messages", "refused"},
    "client": {"core", "v1", "values", "messages", "refused", "calls"},
}  # fmt: skip
# The command is above everything.
MAY_IMPORT["cli"] = set(MAY_IMPORT)

# What callers of the service import is of no use to the service itself.
OF_CALLERS = {"values", "messages", "refused", "calls", "client", "cli"}

# What the core takes of the standard library: all of it computes, none of it looks outside.
PURE = {
    "base64", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "hmac", "itertools", "json", "re", "string", "tomllib", "typing",
}  # fmt: skip

# Calls that would read a clock, a file, a random source or the environment.
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "fromtimestamp", "monotonic", "monotonic_ns"}
IMPURE_NAMES = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def _files(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def _parts() -> list[str]:
    names = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    return sorted(names | ({"v1"} if (PACKAGE / "v1").is_dir() else set()))


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, by their full names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, path)


def _imported_from(node: ast.ImportFrom, path: Path) -> Iterator[str]:
    assert node.level == 0, f"{path}: imports by full names only"
    assert node.module is not None
    if node.module == "liquidation":
        # `from liquidation import desk` imports the part that it names.
        yield from (f"liquidation.{name.name}" for name in node.names)
    else:
        yield node.module


CORE_FILES = _files("core")
OTHER_FILES = [path for part in _parts() if part != "core" for path in _files(part)]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_part_of_the_package_has_its_place_in_the_plan() -> None:
    assert set(_parts()) <= MAY_IMPORT.keys()


def test_the_plan_has_no_circle() -> None:
    placed: set[str] = set()
    left = dict(MAY_IMPORT)
    while left:
        lowest = {part for part, below in left.items() if below <= placed}
        assert lowest, f"these import one another: {sorted(left)}"
        placed |= lowest
        left = {part: below for part, below in left.items() if part not in lowest}


@pytest.mark.parametrize("path", [*CORE_FILES, *OTHER_FILES], ids=_name)
def test_a_file_imports_nothing_above_it(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found = {
        name.split(".")[1]
        for name in _imports(path)
        if name.split(".")[0] == "liquidation" and "." in name
    }

    assert found - {part} <= MAY_IMPORT[part]


def test_the_service_needs_nothing_of_its_callers() -> None:
    assert all(
        not below & OF_CALLERS for part, below in MAY_IMPORT.items() if part not in OF_CALLERS
    )
    assert all(
        below <= OF_CALLERS | {"core", "v1"}
        for part, below in MAY_IMPORT.items()
        if part in OF_CALLERS - {"cli"}
    )


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_core_imports_itself_and_what_only_computes(path: Path) -> None:
    outside = {name.split(".")[0] for name in _imports(path)} - {"liquidation"}

    assert outside <= PURE


def test_what_only_computes_is_of_the_standard_library() -> None:
    assert sys.stdlib_module_names >= PURE


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_core_reads_no_clock_file_or_environment(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in IMPURE_ATTRIBUTES, ast.unparse(node)
        if isinstance(node, ast.Name):
            assert node.id not in IMPURE_NAMES, ast.unparse(node)


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_core_has_no_binary_floats(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        assert not (isinstance(node, ast.Name) and node.id in {"float", "complex"})


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_core_divides_nothing_but_fractions_of_margins(path: Path) -> None:
    # A division of decimals rounds; what may be rounded goes through a context of its own.
    divisions = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
    ]

    assert divisions == [] or path.name == "margin.py"


def test_nobody_reads_the_environment_but_the_flags_and_what_prepares_grpc() -> None:
    readers = {
        _name(path)
        for path in OTHER_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }

    assert readers == {"liquidation/grpc_environment.py"}


def test_the_entry_point_calls_what_serves_and_does_nothing_itself() -> None:
    path = ROOT / "server.py"

    assert {name.split(".")[0] for name in _imports(path)} <= {"liquidation", "sys"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 20
