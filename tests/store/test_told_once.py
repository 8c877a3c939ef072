"""Who asked the writer for something is told once: by the commit, or when the time is over."""

import asyncio
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from liquidation.store.base import StoreUnavailableError
from tests.clocks import Clock
from tests.store.awaited import awaited_sqlite
from tests.store.claiming import begin_request
from tests.store.committing import Commits
from tests.store.snapshots import snapshot


class OwnError(Exception):
    """What a callback raises."""


class Held:
    """A job that is under way until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, _: sqlite3.Connection) -> str:
        self.begun.set()
        self.go.wait()
        return "held"


async def test_what_is_committed_after_its_time_is_told_once_as_not_committed(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path, timeout_s=0.05)
    held = Held()

    with pytest.raises(StoreUnavailableError, match=r"^no commit within 0\.05 s$"):
        await commits.submit(held)
    held.go.set()
    commits.writer.close(10)

    assert (commits.groups, commits.faults) == ([1], [])


async def test_what_has_not_begun_when_its_time_is_over_never_does(tmp_path: Path) -> None:
    commits = Commits(tmp_path, timeout_s=0.05)
    held = Held()
    runs: list[str] = []

    def run(_: sqlite3.Connection) -> None:
        runs.append("run")

    first = commits.submit(held)
    await asyncio.to_thread(held.begun.wait)
    told = await asyncio.gather(first, commits.submit(run), return_exceptions=True)
    held.go.set()
    commits.writer.close(10)

    assert [str(each) for each in told] == ["no commit within 0.05 s"] * 2
    assert (runs, commits.groups) == ([], [1])


async def test_in_a_group_only_those_begin_whose_time_is_not_over(tmp_path: Path) -> None:
    commits = Commits(tmp_path, timeout_s=0.05)
    held = Held()
    first = commits.submit(held)
    await asyncio.to_thread(held.begun.wait)
    over = commits.submit(lambda _: "over")
    await asyncio.gather(first, over, return_exceptions=True)

    waits = commits.submit(lambda _: "in time")
    held.go.set()

    assert await waits == "in time"
    commits.writer.close(10)
    assert commits.groups == [1, 1]


async def test_a_failure_that_comes_after_the_time_is_told_to_nobody(tmp_path: Path) -> None:
    commits = Commits(tmp_path, timeout_s=0.05)
    held = Held()

    def fail(connection: sqlite3.Connection) -> None:
        held(connection)
        raise OwnError

    with pytest.raises(StoreUnavailableError):
        await commits.submit(fail)
    held.go.set()
    commits.writer.close(10)

    assert commits.faults == []


async def test_a_callback_that_raises_ends_no_thread_and_takes_nobody_s_answer(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path)
    held = Held()
    first = commits.submit(held)
    await asyncio.to_thread(held.begun.wait)

    def raising(_: Any) -> None:
        raise OwnError("of the caller")

    commits.writer.submit(lambda _: None, raising)
    other = commits.submit(lambda _: "other")
    held.go.set()

    assert await other == "other"
    await first
    assert await commits.submit(lambda _: "next") == "next"
    commits.writer.close(10)
    assert [str(each) for each in commits.faults] == ["of the caller"]


async def test_a_callback_that_raises_when_the_time_is_over_takes_nobody_s_answer(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path, timeout_s=0.05)
    held = Held()

    def raising(_: Any) -> None:
        raise OwnError("of the caller")

    commits.writer.submit(held, raising)
    with pytest.raises(StoreUnavailableError):
        await commits.submit(lambda _: None)
    held.go.set()
    commits.writer.close(10)

    assert [str(each) for each in commits.faults] == ["of the caller"]


async def test_who_watches_commits_and_raises_harms_nobody(tmp_path: Path) -> None:
    commits = Commits(tmp_path)

    def raising(*_: object) -> None:
        raise OwnError("of who watches")

    commits.watched = raising

    assert await commits.submit(lambda _: "answer") == "answer"
    assert await commits.submit(lambda _: "next") == "next"
    commits.writer.close(10)
    assert [str(each) for each in commits.faults] == ["of who watches"] * 2


async def test_a_keeper_of_faults_that_raises_itself_harms_nobody(tmp_path: Path) -> None:
    commits = Commits(tmp_path)

    def raising(*_: object) -> None:
        raise OwnError

    commits.watched = raising
    commits.writer._on_fault = raising

    assert await commits.submit(lambda _: "answer") == "answer"
    assert await commits.submit(lambda _: "next") == "next"
    commits.writer.close(10)


def test_each_is_told_exactly_once_whoever_comes_first(tmp_path: Path) -> None:
    """Commits and time-outs as they come: times are so short that both happen."""
    commits = Commits(tmp_path, timeout_s=0.003)
    told: Counter[int] = Counter()
    ran: Counter[int] = Counter()
    committed: Counter[int] = Counter()

    for number in range(500):

        def done(outcome: Any, number: int = number) -> None:
            told[number] += 1
            committed[number] += outcome is None

        def job(_: sqlite3.Connection, number: int = number) -> None:
            ran[number] += 1

        commits.writer.submit(job, done)
    commits.writer.close(10)

    assert told == Counter(range(500))
    assert set(ran.values()) <= {1}
    assert all(ran[number] for number in range(500) if committed[number])


async def test_an_error_of_the_rules_is_the_answer_wherever_they_are_asked(tmp_path: Path) -> None:
    store = awaited_sqlite(tmp_path / "store.db", Clock())

    def raising(_: Any) -> Any:
        raise OwnError

    with pytest.raises(OwnError):
        await store.begin(begin_request(None, snapshot(1)), raising)
    await store.put([snapshot(1)])
    with pytest.raises(OwnError):
        await store.begin(begin_request(), raising)

    assert await store.get(1) == snapshot(1)
    await store.aclose()
