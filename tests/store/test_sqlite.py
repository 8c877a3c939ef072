"""What is particular to the SQLite store."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from liquidation.rules.model import StoredState
from liquidation.store.base import ClaimFilter, SchemaError, StateQuery, StoreUnavailableError
from liquidation.store.sqlite import store as sqlite_store
from liquidation.store.sqlite.group_commit import Job
from liquidation.store.sqlite.schema import NEWEST
from liquidation.store.sqlite.store import SqliteStore
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore, answer_to, awaited_sqlite
from tests.store.claiming import begin
from tests.store.snapshots import snapshot


def written(store: AwaitedStore, job: Job) -> "asyncio.Future[Any]":
    """What becomes of a job of the store's writer."""
    return answer_to(lambda done: store.store._writer.submit(job, done))


async def test_the_file_is_in_wal_mode_and_carries_its_schema_version(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await awaited_sqlite(path, Clock()).aclose()

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert version >= 1


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = awaited_sqlite(tmp_path / "store.db", Clock())

    synchronous = await written(store, lambda db: db.execute("PRAGMA synchronous").fetchone()[0])

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
        awaited_sqlite(path, Clock())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="missing"):
        awaited_sqlite(tmp_path / "missing" / "store.db", Clock())


async def test_a_lock_that_is_never_given_back_is_not_waited_for_longer_than_two_seconds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    store = awaited_sqlite(path, Clock())
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
    store = awaited_sqlite(path, Clock())
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
    store = awaited_sqlite(tmp_path / "store.db", Clock(), timeout_s=0.01)
    go = threading.Event()

    with pytest.raises(StoreUnavailableError, match=r"^no commit within 0\.01 s$"):
        await written(store, lambda _: go.wait())
    await store.aclose()

    assert store.store._writer._thread.is_alive()
    go.set()
    await asyncio.to_thread(store.store._writer._thread.join, 10)


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    def open_and_close(path: Path) -> None:
        SqliteStore(path, Clock()).close()

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            path = tmp_path / f"{number}.db"
            for opened in [pool.submit(open_and_close, path) for _ in range(8)]:
                opened.result()


async def test_other_threads_read_while_one_answers_and_another_writes(tmp_path: Path) -> None:
    store = awaited_sqlite(tmp_path / "store.db", Clock())
    await store.put([snapshot(1)])
    over = threading.Event()
    told: list[object] = []

    def look() -> None:
        inside = store.store
        while not over.is_set():
            for ask in (
                lambda done: inside.get(1, done),
                lambda done: inside.page("", 0, 10, done),
                lambda done: inside.claim(claim_id="none", done=done),
                lambda done: inside.claims(ClaimFilter(), None, 10, done),
                lambda done: inside.read_states([StateQuery(1, "nobody")], done),
                inside.count_active,
                inside.probe,
            ):
                ask(told.append)

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(4)]
        for revision in range(2, 30):
            await store.put([snapshot(1, revision)])
            (state,) = await store.states([StateQuery(1, "nobody")])
            assert state.liquidation == snapshot(1, revision)
        over.set()
        for each in looking:
            each.result()
    await store.aclose()

    assert told
    assert not [each for each in told if isinstance(each, Exception)]


async def test_the_states_of_many_requests_are_read_without_the_cache_too(tmp_path: Path) -> None:
    store = awaited_sqlite(tmp_path / "store.db", Clock())
    await store.put([snapshot(1)])
    await begin(store)
    queries = [StateQuery(1, "nobody"), StateQuery(2, "nobody", "account-1")]

    read: list[StoredState] = await answer_to(lambda done: store.store.read_states(queries, done))

    assert read == await store.states(queries)
    assert [each.active_claim is not None for each in read] == [True, True]
    await store.aclose()
