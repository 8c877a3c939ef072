"""Fixtures that many tests share."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.analysis.logged import log_of_real_requests
from tests.sidecars import Running, running

pytest_plugins = ["tests.store.postgres.plugin"]

# Few tests that take long: begun first, so that no process is left alone with them at the end.
_LONG = {
    "test_against_oracle.py",
    "test_bench.py",
    "test_failover.py",
    "test_rolling.py",
    "test_run.py",
    "test_torture.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A real server under the built-in rules, with an empty store."""
    async with running(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def real_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a server that was sent every real request; to be read alone."""
    return asyncio.run(log_of_real_requests(tmp_path_factory.mktemp("real")))
