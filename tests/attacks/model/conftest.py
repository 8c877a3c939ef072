"""The stores that are held against the model: those of the conformance suite."""

from tests.store.conftest import clock, engine, open_store, store

__all__ = ["clock", "engine", "open_store", "store"]
