"""What is particular to the SQLite store."""

import asyncio
import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from liquidation.store.base import SchemaError, StoreUnavailableError
from liquidation.store.sqlite import store as sqlite_store
from liquidation.store.sqlite.schema import NEWEST
from liquidation.store.sqlite.store import SqliteStore
from tests.clocks import Clock
from tests.store.claiming import begin
from tests.store.snapshots import snapshot


async def test_the_file_is_in_wal_mode_and_carries_its_schema_version(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await SqliteStore(path, Clock()).aclose()

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert version >= 1


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())

    synchronous = await store._write(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])

    assert synchronous == 2  # FULL
    await store.aclose()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(SchemaError) as refused:
        SqliteStore(path, Clock())

    assert str(refused.value) == (
        f"the database has schema version 999, this service knows {NEWEST}:"
        " it was written by a newer version"
    )


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("this is no database, and it is long enough to be looked at" * 100)

    with pytest.raises(StoreUnavailableError, match=r"store\.db"):
        SqliteStore(path, Clock())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="missing"):
        SqliteStore(tmp_path / "missing" / "store.db", Clock())


async def test_a_lock_that_is_never_given_back_is_not_waited_for_longer_than_two_seconds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, Clock())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailableError):
        await store.put([snapshot(1)])

    other.execute("ROLLBACK")
    other.close()
    (result,) = await store.put([snapshot(1)])
    assert result.opened
    await store.aclose()


async def test_a_broken_table_is_unavailable_and_tells_no_driver_type(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, Clock())
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE liquidation")
    other.close()

    missing = "no such table: liquidation"
    with pytest.raises(StoreUnavailableError, match=f"^cannot read: {missing}$"):
        await store.get(1)
    with pytest.raises(StoreUnavailableError, match=f"^the group was not committed: {missing}$"):
        await store.put([snapshot(1)])
    with pytest.raises(StoreUnavailableError, match=f"^cannot read: {missing}$"):
        await store.probe()
    with pytest.raises(StoreUnavailableError, match=f"^cannot read: {missing}$"):
        await begin(store)
    await store.aclose()


async def test_a_write_that_is_stuck_keeps_nobody_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "_CLOSE_S", 0.01)
    store = SqliteStore(tmp_path / "store.db", Clock(), timeout_s=0.01)
    go = threading.Event()

    with pytest.raises(StoreUnavailableError, match=r"^no commit within 0\.01 s$"):
        await store._write(lambda _: go.wait())
    await store.aclose()

    assert store._writer._thread.is_alive()
    go.set()
    await asyncio.to_thread(store._writer._thread.join, 10)


async def test_an_error_that_nobody_waits_for_any_more_is_no_noise(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    begun, go = threading.Event(), threading.Event()

    def fail(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()
        raise LookupError

    caller = asyncio.create_task(store._write(fail))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    await store.aclose()
    gc.collect()

    assert noise == []


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    def open_and_close(path: Path) -> None:
        store = SqliteStore(path, Clock())
        asyncio.run(store.aclose())

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            path = tmp_path / f"{number}.db"
            for opened in [pool.submit(open_and_close, path) for _ in range(8)]:
                opened.result()
