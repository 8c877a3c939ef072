"""Runs tests against mutants in a copy of the tree, which is its working directory.

`fresh` forks before anything of the code under test is loaded, so a mutant is there from the first
import on. `warm` has all tests collected, and a fork gets the changed function put in its place:
ten times as fast, for what is not run at import. A wish is a line of standard input, its answer a
line of standard output, in JSON.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import pytest

from tests.mutation.forks import alarm_after, forked, mutated, prepare
from tests.mutation.selection import Recorder, Selection

# Imported before the forks, where they are installed; the code under test never is.
_SLOW_TO_IMPORT: Final = (
    "coverage",
    "google.protobuf.json_format",
    "google.rpc.error_details_pb2",
    "hypothesis.strategies",
    "orjson",
    "psycopg_pool",
    "pytest_asyncio",
)

Wish = dict[str, Any]


class Worker:
    """Answers wishes, one after the other."""

    def __init__(self, scratch: Path, *, with_postgres: bool) -> None:
        self._scratch = scratch
        self._with_postgres = with_postgres
        self._server: Any = None
        # pytest takes the standard ones for itself.
        self._wishes = os.fdopen(os.dup(0), encoding="utf-8")
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def fresh(self) -> None:
        """Each run collects its tests, and imports what they test, after the mutant is written."""
        for name in _SLOW_TO_IMPORT:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        if loaded := [name for name in sys.modules if name.split(".")[0] == "liquidation"]:
            raise RuntimeError(f"loaded before the first mutant: {loaded}")
        self._serve(self._freshly)

    def warm(self, arguments: list[str]) -> int:
        """All tests are collected once, and each run is a fork of that."""
        return int(pytest.main([*self._arguments(arguments), "-s"], plugins=[self]))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of running what was collected."""
        functions = _functions()

        def act(wish: Wish) -> int:
            _put_in_place(functions, wish)
            selection = self._selection(wish)
            session.config.pluginmanager.register(selection)
            items = selection.of(session.items)
            selection.pytest_collection_modifyitems(items)
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    return 1
            return 0

        self._serve(act)
        return True

    def _freshly(self, wish: Wish) -> int:
        if "source" in wish:
            noted = Recorder(wish["source"]).run(self._arguments(wish["arguments"]))
            (self._scratch / "noted.json").write_text(json.dumps(noted), encoding="utf-8")
            return 0
        return int(pytest.main(self._arguments(wish["arguments"]), plugins=[self._selection(wish)]))

    def _selection(self, wish: Wish) -> Selection:
        return Selection(wish["tests"], wish["usual_s"], self._scratch / "failed")

    def _arguments(self, arguments: list[str]) -> list[str]:
        plain = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"]
        plain += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return [*plain, f"--basetemp={self._scratch}/tmp", *arguments]

    def _serve(self, act: Callable[[Wish], int]) -> None:
        with self._shared_postgres():
            for number, line in enumerate(self._wishes, start=1):
                answer = self._answer(json.loads(line), act, number)
                print(json.dumps(answer), file=self._answers, flush=True)
                if self._server is not None and number % 20 == 0:
                    self._drop_databases()

    def _answer(self, wish: Wish, act: Callable[[Wish], int], number: int) -> dict[str, Any]:
        failed = self._scratch / "failed"
        failed.unlink(missing_ok=True)

        def child() -> int:
            prepare(self._scratch / "output.log")
            self._lend_postgres(number)
            if "source" not in wish:
                alarm_after(0)
            return act(wish)

        with mutated(Path(wish["path"]), wish["mutated"]) if "path" in wish else _nothing():
            outcome, seconds = forked(child)
        by = failed.read_text(encoding="utf-8") if failed.exists() else ""
        return {"outcome": outcome, "seconds": seconds, "by": by}

    @contextlib.contextmanager
    def _shared_postgres(self) -> Iterator[None]:
        """One server for all runs: its databases are the runs' own."""
        if not self._with_postgres:
            yield
            return
        with importlib.import_module("tests.store.postgres.server").postgres() as self._server:
            yield

    def _lend_postgres(self, number: int) -> None:
        if self._server is not None:
            plugin = importlib.import_module("tests.store.postgres.plugin")
            plugin.__dict__["postgres"] = lambda **_: contextlib.nullcontext(self._server)
            databases = importlib.import_module("tests.store.postgres.databases")
            databases.__dict__["_numbers"] = count(number * 1000)

    def _drop_databases(self) -> None:
        query = r"SELECT datname FROM pg_database WHERE datname LIKE 'test\_%'"
        with self._server.connect() as connection:
            left = [name for (name,) in connection.execute(query).fetchall()]
        for name in left:
            self._server.drop_database(name)


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


def _functions() -> dict[tuple[str, str], list[FunctionType]]:
    """Every function there is, by file and qualified name."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            code = each.__code__
            found.setdefault((code.co_filename, code.co_qualname), []).append(each)
    return found


def _put_in_place(functions: dict[tuple[str, str], list[FunctionType]], wish: Wish) -> None:
    """Gives a function the code that it has in the mutant: whoever holds it calls the mutant."""
    path = str(Path(wish["path"]).absolute())
    (code,) = _codes(compile(wish["mutated"], path, "exec"), wish["function"])
    places = functions[path, wish["function"]]
    assert places, wish["function"]
    for function in places:
        function.__code__ = code


def _codes(code: CodeType, name: str) -> list[CodeType]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    here = [each for each in inner if each.co_qualname == name]
    return here or [found for each in inner for found in _codes(each, name)]


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    _mode, _scratch, _postgres, *_arguments = sys.argv[1:]
    _worker = Worker(Path(_scratch), with_postgres=_postgres == "postgres")
    if _mode == "fresh":
        _worker.fresh()
    else:
        sys.exit(_worker.warm(_arguments))
