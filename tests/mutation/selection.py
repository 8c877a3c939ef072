"""Which of the collected tests run, in which order, and what failed first."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.forks import alarm_after, draw_fewer

__all__ = ["Recorder", "Selection"]


class Selection:
    """Of what was collected, runs what reaches the mutant, and tells what failed first."""

    def __init__(self, wanted: list[str], usual_s: dict[str, float], told: Path) -> None:
        """`usual_s` has every test of the tree as it is; one that is not in it is new, and runs.

        A test may get another name by a mutant: its parameters are drawn from what is under test.
        """
        self._place = {name: place for place, name in enumerate(wanted)}
        self._usual_s = usual_s
        self._told = told

    def of(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """What runs, in its order."""
        chosen = [
            item for item in items if item.nodeid in self._place or item.nodeid not in self._usual_s
        ]
        return sorted(chosen, key=lambda item: self._place.get(item.nodeid, len(self._place)))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = self.of(items)
        for item in items:
            draw_fewer(getattr(item, "obj", None))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        alarm_after(self._usual_s.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._told.write_text(report.nodeid, encoding="utf-8")


class Recorder:
    """Notes how long each test takes, and which lines it reaches."""

    def __init__(self, source: str) -> None:
        from coverage import Coverage  # noqa: PLC0415 - needed by none of the runs that follow

        self._coverage = Coverage(include=[f"{source}/*"], data_file=None)
        self.usual_s: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            draw_fewer(getattr(item, "obj", None))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._coverage.switch_context(item.nodeid)
        begun = time.monotonic()
        try:
            return (yield)
        finally:
            self.usual_s[item.nodeid] = time.monotonic() - begun
            self._coverage.switch_context("")

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """Runs the tests, which must pass, and gives what was noted; "" stands for an import."""
        self._coverage.start()
        status = pytest.main(arguments, plugins=[self])
        self._coverage.stop()
        data = self._coverage.get_data()
        reached = {
            str(Path(name).relative_to(Path.cwd())): data.contexts_by_lineno(name)
            for name in data.measured_files()
        }
        return {"status": int(status), "usual_s": self.usual_s, "reached": reached}
