"""What is particular to the SQLite store: the file, and the thread that writes to it."""

import asyncio
import os
import sqlite3
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from liquidation.rules.decision import Decision
from liquidation.rules.model import StoredState
from liquidation.store.base import ClaimFilter, SchemaError, StateQuery, StoreUnavailableError
from liquidation.store.sqlite import store as sqlite_room
from liquidation.store.sqlite.connections import FileLock
from liquidation.store.sqlite.schema import NEWEST
from tests.store.builders import accept, begin, begin_request, of_account, snapshot, state_of
from tests.store.stores import AwaitedStore, answer_to, once_it_answers, sqlite_store

# So long does a test wait for a store that holds back on purpose.
SHORT_S = 0.05


def run(path: Path, *statements: str) -> list[Any]:
    """Runs statements on a connection of its own; returns the rows of the last one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(each).fetchall() for each in statements][-1]


async def test_the_file_is_in_wal_mode_and_every_commit_is_synced(path: Path) -> None:
    async with sqlite_store(path) as store:
        synchronous = store.store._writer._connection.execute("PRAGMA synchronous").fetchone()

    assert synchronous == (2,)  # FULL
    assert run(path, "PRAGMA journal_mode") == [("wal",)]
    assert run(path, "PRAGMA user_version") == [(NEWEST,)]


def test_what_cannot_be_opened_is_refused(path: Path) -> None:
    run(path, "PRAGMA user_version = 999")
    with pytest.raises(SchemaError) as refused:
        sqlite_store(path)
    assert str(refused.value) == (
        f"the database has schema version 999, this service knows {NEWEST}:"
        " it was written by a newer version"
    )

    path.write_text("this is no database, and it is long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailableError, match=r"store\.db"):
        sqlite_store(path)

    with pytest.raises(StoreUnavailableError, match="missing"):
        sqlite_store(path.with_name("missing") / "store.db")


async def test_a_broken_table_is_unavailable_and_shows_no_driver_type(path: Path) -> None:
    async with sqlite_store(path) as store:
        run(path, "DROP TABLE liquidation")

        missing = "no such table: liquidation"
        for ask in (store.get(1), store.probe(), begin(store), state_of(store)):
            with pytest.raises(StoreUnavailableError, match=f"^cannot read: {missing}$"):
                await ask
        with pytest.raises(
            StoreUnavailableError, match=f"^the group was not committed: {missing}$"
        ) as raised:
            await store.put([snapshot(1)])
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
        # What fails leaves nothing in the way of the next.
        assert await store.expire() == ()


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            path = tmp_path / f"{number}.db"
            for opened in [pool.submit(sqlite_store, path) for _ in range(8)]:
                opened.result().store.close()


def test_the_lock_files_are_not_for_everybody(path: Path) -> None:
    before = os.umask(0)
    try:
        FileLock(path).close()
    finally:
        os.umask(before)

    modes = {each.name: stat.filemode(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"store.db-turn": "-rw-r-----", "store.db-inside": "-rw-r-----"}


async def test_threads_read_while_one_decides_and_another_writes(path: Path) -> None:
    over = threading.Event()
    told: list[object] = []
    async with sqlite_store(path) as store:
        await store.put([snapshot(1)])

        def look() -> None:
            asked = store.store
            while not over.is_set():
                asked.get(1, told.append)
                asked.page("", 0, 10, told.append)
                asked.claim(claim_id="none", done=told.append)
                asked.claims(ClaimFilter(), None, 10, told.append)
                asked.read_states([StateQuery(1, "nobody")], told.append)
                asked.count_active(told.append)
                asked.probe(told.append)

        with ThreadPoolExecutor(3) as pool:
            looking = [pool.submit(look) for _ in range(3)]
            for revision in range(2, 20):
                await store.put([snapshot(1, revision)])
                assert (await state_of(store)).liquidation == snapshot(1, revision)
            over.set()
            for each in looking:
                each.result()

    assert told
    assert not [each for each in told if isinstance(each, Exception)]


# The writer. Writes that come while one is under way share the next commit.


class Told:
    """What a store tells besides its answers."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, float]] = []
        self.faults: list[str] = []

    def open(self, path: Path, **settings: Any) -> AwaitedStore:
        return sqlite_store(
            path,
            committed=lambda writes, took_s: self.commits.append((writes, took_s)),
            on_fault=lambda error: self.faults.append(str(error)),
            **settings,
        )

    @property
    def sizes(self) -> list[int]:
        return [writes for writes, _ in self.commits]


@contextmanager
def another_writes(path: Path) -> Iterator[None]:
    """Another process is inside the file: whoever writes waits for it."""
    lock = FileLock(path)
    try:
        with lock.held():
            yield
    finally:
        lock.close()


class Slow:
    """Rules that hold the writer up until they are let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, state: StoredState) -> Decision:
        self.begun.set()
        self.go.wait()
        return accept(state)


def put(store: AwaitedStore, number: int) -> "asyncio.Future[Any]":
    """Asks at once; what comes of it."""
    return answer_to(lambda done: store.store.put([of_account(number)], done))


@pytest.mark.parametrize(("group", "sizes"), [(256, [1, 8]), (4, [1, 4, 4])])
async def test_writes_that_wait_share_a_commit(path: Path, group: int, sizes: list[int]) -> None:
    told, slow = Told(), Slow()
    async with told.open(path, group=group) as store:
        first = asyncio.create_task(begin(store, begin_request(None, snapshot(99)), slow))
        await asyncio.to_thread(slow.begun.wait)
        calls = [put(store, each) for each in range(1, 9)]
        slow.go.set()
        await asyncio.gather(first, *calls)
        await put(store, 10)

    assert told.sizes == [*sizes, 1]
    assert all(took_s >= 0 for _, took_s in told.commits)


async def test_a_write_whose_time_is_over_before_its_turn_never_happens(path: Path) -> None:
    told = Told()
    async with told.open(path, timeout_s=SHORT_S) as store:
        with another_writes(path):
            for number in (1, 2):
                with pytest.raises(StoreUnavailableError, match=r"^no commit within 0\.05 s$"):
                    await put(store, number)
        await once_it_answers(lambda: put(store, 3))
        assert (await store.page("", 0, 10)).liquidations == [of_account(3)]

    assert set(told.sizes) == {1}


async def test_a_lock_of_another_program_is_not_waited_for_longer_than_its_time(
    path: Path,
) -> None:
    async with sqlite_store(path, timeout_s=SHORT_S) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError):
                await put(store, 1)
            other.execute("ROLLBACK")
        await once_it_answers(lambda: put(store, 1))


async def test_what_callbacks_raise_harms_nobody(path: Path) -> None:
    faults: list[str] = []

    def fault(error: Exception) -> None:
        faults.append(str(error))
        raise error

    def raising(*_: object) -> None:
        raise LookupError("of the callback")

    async with sqlite_store(path, committed=raising, on_fault=fault) as store:
        store.store.put([of_account(1)], raising)
        assert [each.opened for each in await put(store, 2)] == [True]
        assert await store.get(1) == of_account(1)

    assert set(faults) == {"of the callback"}


def test_each_write_is_answered_exactly_once_by_its_commit_or_its_time(path: Path) -> None:
    """The time is so short that both happen."""
    told = Told()
    answers: Counter[int] = Counter()
    committed: set[int] = set()
    store = told.open(path, timeout_s=0.003)

    for number in range(1, 501):

        def done(outcome: Any, number: int = number) -> None:
            answers[number] += 1
            if not isinstance(outcome, Exception):
                committed.add(number)

        store.store.put([of_account(number)], done)
    store.store.close()

    assert answers == Counter(range(1, 501))
    stored = {each for (each,) in run(path, "SELECT liquidation_id FROM liquidation")}
    assert committed <= stored
    assert sum(told.sizes) == len(stored)


async def test_closing_answers_what_was_asked_before(path: Path) -> None:
    store = sqlite_store(path)
    with another_writes(path):
        calls = [put(store, each) for each in range(1, 4)]
        closing_ = asyncio.create_task(store.aclose())
    await closing_

    assert all(each.opened for (each,) in await asyncio.gather(*calls))
    assert not store.store._writer._thread.is_alive()


async def test_a_write_that_is_stuck_keeps_nobody_from_closing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_room, "_CLOSE_S", 0.01)
    told, slow = Told(), Slow()
    store = told.open(path)
    stuck = asyncio.create_task(begin(store, begin_request(None, snapshot(9)), slow))
    await asyncio.to_thread(slow.begun.wait)
    behind = put(store, 1)

    await store.aclose()

    for each in await asyncio.gather(stuck, behind, return_exceptions=True):
        assert isinstance(each, StoreUnavailableError)
    writer = store.store._writer._thread
    assert writer.is_alive()
    slow.go.set()
    await asyncio.to_thread(writer.join, 10)
    assert not writer.is_alive()
    assert run(path, "SELECT liquidation_id FROM liquidation") == [(9,)]


async def test_what_is_refused_or_known_writes_nothing(path: Path) -> None:
    told = Told()
    async with told.open(path) as store:
        await store.put([snapshot(1)])
        request = begin_request()
        await begin(store, request)
        told.commits.clear()

        assert (await begin(store, request)).known
        assert not (await begin(store)).decision.accepted
        assert not (await begin(store, begin_request(liquidation_id=9))).decision.accepted

    assert told.commits == []
