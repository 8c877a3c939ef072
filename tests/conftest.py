"""Fixtures that many tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sidecars import Running, running

pytest_plugins = ["tests.postgres.plugin"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A real server under the built-in rules, with an empty store."""
    async with running(tmp_path) as server:
        yield server
