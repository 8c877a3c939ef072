"""Every store that the conformance suite is run through; a fresh one for each test."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from liquidation.store.base import Store
from liquidation.store.sqlite import SqliteStore
from tests.clocks import Clock

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture
def clock() -> Clock:
    """The clock that the store under test reads."""
    return Clock()


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> OpenStore:
    """Opens the store under test; opened twice, it is the same data."""

    @asynccontextmanager
    async def sqlite() -> AsyncIterator[Store]:
        store = SqliteStore(tmp_path / "store.db", clock)
        try:
            yield store
        finally:
            await store.aclose()

    stores: dict[str, OpenStore] = {"sqlite": sqlite}
    return stores[request.param]


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    """The store under test, open and empty."""
    async with open_store() as store:
        yield store
