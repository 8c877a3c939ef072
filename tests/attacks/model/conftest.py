"""The stores that are held against the model: those of the conformance suite."""

from tests.store.conftest import (
    clock,
    engine,
    location,
    open_store,
    open_stores,
    server_clock,
    shared_database,
    store,
)

__all__ = [
    "clock",
    "engine",
    "location",
    "open_store",
    "open_stores",
    "server_clock",
    "shared_database",
    "store",
]
