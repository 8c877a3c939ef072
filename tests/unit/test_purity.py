"""The plan of the code, held by its imports: arrows point down, and the rules are pure."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liquidation"

# The rooms of the package from the top down: a file imports nothing of a room above its own.
ROOMS = (
    "cli", "client", "values", "analysis", "server", "api", "transport", "metrics", "decisionlog",
    "config", "store", "auth", "rules", "v1",
)  # fmt: skip

# What callers of the service import is of no use to the service itself, nor the other way round.
OF_CALLERS = {"values", "client"}
BELOW_CALLERS = OF_CALLERS | {"rules", "v1"}

# What the rules takes of the standard library: all of it computes, none of it looks outside.
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
        # `from liquidation import rules` imports the part that it names; the front has functions.
        yield from (f"liquidation.{name.name}" for name in node.names if name.name in ROOMS)
    else:
        yield node.module


RULES_FILES = _files("rules")
CORE_FILES = [*RULES_FILES, *_files("auth")]
OTHER_FILES = [path for part in _parts() if part not in {"rules", "auth"} for path in _files(part)]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_room_of_the_package_has_its_place_in_the_plan() -> None:
    assert set(_parts()) <= set(ROOMS)


def test_the_front_of_the_package_imports_nothing() -> None:
    assert list(_imports(PACKAGE / "__init__.py")) == []


@pytest.mark.parametrize("path", [*CORE_FILES, *OTHER_FILES], ids=_name)
def test_a_file_imports_nothing_above_it(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found = {
        name.split(".")[1]
        for name in _imports(path)
        if name.split(".")[0] == "liquidation" and "." in name
    }

    assert found <= set(ROOMS[ROOMS.index(room) :])
    if room in OF_CALLERS:
        assert found <= BELOW_CALLERS
    elif room != "cli":
        assert not found & OF_CALLERS


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _needed(path: Path) -> Iterator[str]:
    """The modules that a file needs while it is imported; in the rules, those it names at all."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if path in RULES_FILES else tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield f"{node.module}.{name.name}"
                yield str(node.module)


def test_no_files_import_each_other_in_a_circle() -> None:
    files = {_module(path): path for path in [*CORE_FILES, *OTHER_FILES]}
    needs = {
        module: {name for name in _needed(path) if name in files} - {module}
        for module, path in files.items()
    }
    # A front names the files of its room; a file that imports a neighbour needs only that one.
    fronts = {module for module, path in files.items() if path.name == "__init__.py"}

    order = list(
        TopologicalSorter(
            {module: names - fronts for module, names in needs.items()}
        ).static_order()
    )

    assert set(order) == set(files)


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    program = "import sys, liquidation.client; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("liquidation.")}

    assert rooms == {"client", "values", "rules", "v1"}
    assert not {"structlog", "orjson", "sqlite3", "psycopg", "click"} & set(loaded)


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_rules_import_themselves_and_what_only_computes(path: Path) -> None:
    outside = {name.split(".")[0] for name in _imports(path)} - {"liquidation"}

    assert outside <= PURE


def test_what_only_computes_is_of_the_standard_library() -> None:
    assert sys.stdlib_module_names >= PURE


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_rules_read_no_clock_file_or_environment(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in IMPURE_ATTRIBUTES, ast.unparse(node)
        if isinstance(node, ast.Name):
            assert node.id not in IMPURE_NAMES, ast.unparse(node)


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_rules_have_no_binary_floats(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        assert not (isinstance(node, ast.Name) and node.id in {"float", "complex"})


@pytest.mark.parametrize("path", CORE_FILES, ids=_name)
def test_the_rules_divide_nothing_but_fractions_of_margins(path: Path) -> None:
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

    assert readers == {"liquidation/server/grpc_environment.py"}


def test_the_entry_point_calls_what_serves_and_does_nothing_itself() -> None:
    path = ROOT / "server.py"

    assert {name.split(".")[0] for name in _imports(path)} <= {"liquidation", "sys"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 20
