"""A store is opened by what `--store` names."""

import sys
from pathlib import Path

import pytest

from liquidation.store.base import StoreUnavailableError
from liquidation.store.locations import PostgresDatabase, SqliteFile
from liquidation.store.opening import DriverMissingError, open_store
from liquidation.store.postgres import PostgresStore
from liquidation.store.sqlite import SqliteStore

NOWHERE = PostgresDatabase("postgresql://u:S3cret@127.0.0.1:1/liquidation")


async def test_a_file_is_made_on_first_use(tmp_path: Path) -> None:
    store = await open_store(SqliteFile(tmp_path / "a.db"), timeout_s=2, connections=1)
    await store.aclose()

    assert isinstance(store, SqliteStore)
    assert (tmp_path / "a.db").exists()


async def test_a_database_that_cannot_be_reached_is_opened_and_does_not_answer() -> None:
    store = await open_store(NOWHERE, timeout_s=0.1, connections=1)
    try:
        assert isinstance(store, PostgresStore)
        with pytest.raises(StoreUnavailableError) as unavailable:
            await store.probe()
    finally:
        await store.aclose()

    assert "S3cret" not in str(unavailable.value)


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
async def test_without_its_driver_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(DriverMissingError, match=r"needs pip install 'liquidation\[postgres\]'"):
        await open_store(NOWHERE, timeout_s=0.1, connections=1)
