"""A store is opened by what `--store` names."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from liquidation.store.base import StoreUnavailableError
from liquidation.store.locations import DriverMissingError, PostgresDatabase, SqliteFile, open_store
from liquidation.store.postgres.store import PostgresStore
from liquidation.store.sqlite.store import SqliteStore
from tests.store.builders import begin, snapshot
from tests.store.stores import AwaitedStore, once_it_answers

NOWHERE = PostgresDatabase("postgresql://u:S3cret@127.0.0.1:1/liquidation")


async def test_a_file_is_made_on_first_use(tmp_path: Path) -> None:
    store = AwaitedStore(open_store(SqliteFile(tmp_path / "a.db"), timeout_s=2, connections=1))
    await store.aclose()

    assert isinstance(store.store, SqliteStore)
    assert (tmp_path / "a.db").exists()


async def test_a_file_is_opened_with_its_time_limit_and_who_is_told_of_commits(
    tmp_path: Path,
) -> None:
    commits: list[int] = []
    store = AwaitedStore(
        open_store(
            SqliteFile(tmp_path / "a.db"),
            timeout_s=0.3,
            connections=1,
            committed=lambda writes, _: commits.append(writes),
        )
    )
    try:
        await once_it_answers(lambda: store.put([snapshot(1)]))
        assert set(commits) == {1}
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match=r"no commit within 0\.3 s"):
                await store.put([snapshot(2)])
    finally:
        await store.aclose()


async def test_a_database_is_opened_with_its_time_limit_and_who_is_told_of_commits(
    postgres_database: str,
) -> None:
    commits: list[int] = []
    store = AwaitedStore(
        open_store(
            PostgresDatabase(postgres_database),
            timeout_s=0.3,
            connections=1,
            committed=lambda writes, _: commits.append(writes),
        )
    )
    try:
        await once_it_answers(lambda: store.put([snapshot(1)]))
        await once_it_answers(lambda: begin(store))
        assert set(commits) == {1}
        async with await psycopg.AsyncConnection.connect(postgres_database) as other:
            await other.execute("LOCK TABLE claim")
            with pytest.raises(StoreUnavailableError):
                await begin(store)
    finally:
        await store.aclose()


async def test_a_database_that_cannot_be_reached_is_opened_and_does_not_answer() -> None:
    store = AwaitedStore(open_store(NOWHERE, timeout_s=0.1, connections=1))
    try:
        assert isinstance(store.store, PostgresStore)
        assert store.store._database._pool.max_size == 1
        with pytest.raises(
            StoreUnavailableError, match=r"^no connection within 0\.095 s: "
        ) as unavailable:
            await store.probe()
    finally:
        await store.aclose()

    assert "S3cret" not in str(unavailable.value)


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
async def test_without_its_driver_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(
        DriverMissingError,
        match=r"^--store postgresql:// needs the extra postgres: pip install '\.\[postgres\]'",
    ):
        open_store(NOWHERE, timeout_s=0.1, connections=1)
