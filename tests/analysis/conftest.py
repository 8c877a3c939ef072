"""A log to look into, made once."""

import asyncio
from pathlib import Path

import pytest

from tests.analysis.produced import produce
from tests.sidecars import running


@pytest.fixture(scope="session")
def produced_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole log of one run of a server, with every kind of line."""
    folder = tmp_path_factory.mktemp("produced")

    async def run() -> None:
        async with running(folder) as server:
            await produce(server)

    asyncio.run(run())
    return folder / "decisions.log"
