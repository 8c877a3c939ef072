"""Which writes share a commit."""

import asyncio
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from liquidation.store.base import StoreUnavailableError
from liquidation.store.sqlite.group_commit import MAX_GROUP, FileLock, GroupCommit


class _Commits:
    """A writer of a file, its groups, and what goes on while it waits for more jobs."""

    def __init__(self, directory: Path, most: int = MAX_GROUP) -> None:
        self.groups: list[int] = []
        self.took_s: list[float] = []
        self.pauses = 0
        self.during_pause: Callable[[int], None] = lambda _: None
        path = directory / "store.db"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.writer = GroupCommit(
            connection,
            FileLock(path),
            most,
            self._committed,
            self._pause,
        )

    def _committed(self, writes: int, seconds: float) -> None:
        self.groups.append(writes)
        self.took_s.append(seconds)

    def _pause(self, _seconds: float) -> None:
        self.pauses += 1
        self.during_pause(self.pauses)

    async def at_once(self, jobs: int) -> None:
        """Commits jobs that have all queued up behind one under way; that one is a group too."""
        begun, go = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            begun.set()
            go.wait()

        first = self.writer.submit(hold)
        await asyncio.to_thread(begun.wait)
        rest = [self.writer.submit(lambda _: None) for _ in range(jobs)]
        go.set()
        await asyncio.gather(first, *rest)


def _submit_in_first_pause(commits: _Commits, jobs: int) -> None:
    """Has the event loop submit more jobs while the writer waits for the first time."""
    loop = asyncio.get_running_loop()
    submitted = threading.Event()

    def submit() -> None:
        for _ in range(jobs):
            commits.writer.submit(lambda _: None)
        submitted.set()

    def during(pause: int) -> None:
        if pause == 1:
            loop.call_soon_threadsafe(submit)
            submitted.wait()

    commits.during_pause = during


async def test_jobs_that_come_alone_are_committed_at_once(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)

    for _ in range(3):
        await commits.writer.submit(lambda _: None)
    commits.writer.close(10)

    assert commits.groups == [1, 1, 1]
    assert commits.pauses == 0


@pytest.mark.parametrize(
    ("at_once", "in_first_pause", "group", "pauses"),
    [
        (3, 0, 3, 0),  # not busy
        (4, 0, 4, 1),  # busy, and nobody else comes
        (4, 3, 7, 1),  # too few by then for another moment
        (4, 4, 8, 2),  # a flood
        (8, 1, 9, 2),
        (8, 0, 8, 1),  # nobody came in the moment
        (15, 0, 15, 1),
        (16, 0, 16, 0),  # as many as ever share a commit for having waited
    ],
)
async def test_how_long_a_group_waits_goes_by_how_many_are_in_it(
    tmp_path: Path, at_once: int, in_first_pause: int, group: int, pauses: int
) -> None:
    commits = _Commits(tmp_path)
    _submit_in_first_pause(commits, jobs=in_first_pause)

    await commits.at_once(at_once)
    commits.writer.close(10)

    assert commits.groups == [1, group]
    assert commits.pauses == pauses


async def test_a_full_group_waits_for_nobody_and_who_is_left_is_in_the_next(tmp_path: Path) -> None:
    commits = _Commits(tmp_path, most=4)

    await commits.at_once(9)
    commits.writer.close(10)

    # The last one follows a group that was busy.
    assert commits.groups == [1, 4, 4, 1]
    assert commits.pauses == 1


async def test_what_was_submitted_before_the_end_is_committed_and_the_thread_ends(
    tmp_path: Path,
) -> None:
    commits = _Commits(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()

    jobs = [commits.writer.submit(hold)]
    await asyncio.to_thread(begun.wait)
    jobs += [commits.writer.submit(lambda _: None) for _ in range(2)]
    commits.writer.close(0.01)  # a thread that is stuck is left behind
    assert commits.writer._thread.is_alive()

    go.set()
    await asyncio.gather(*jobs)
    await asyncio.to_thread(commits.writer._thread.join, 10)

    assert not commits.writer._thread.is_alive()
    assert commits.groups == [1, 2]


async def test_the_thread_has_a_name_and_keeps_no_process_alive(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)

    assert commits.writer._thread.name == "sqlite-writer"
    assert commits.writer._thread.daemon
    commits.writer.close(10)


async def test_a_job_runs_once_unless_another_of_its_group_raises(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    runs: list[str] = []

    def run(connection: sqlite3.Connection) -> None:
        runs.append("run")
        connection.execute("SELECT 1")

    await commits.writer.submit(run)
    commits.writer.close(10)

    assert runs == ["run"]


async def test_a_caller_who_is_gone_takes_nobody_s_answer_along(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()

    first = commits.writer.submit(hold)
    await asyncio.to_thread(begun.wait)
    gone = commits.writer.submit(lambda _: None)
    other = commits.writer.submit(lambda _: "answer")
    gone.cancel()
    go.set()

    assert await other == "answer"
    await first
    commits.writer.close(10)
    assert commits.groups == [1, 2]


async def test_a_loop_that_was_closed_meanwhile_is_not_told_and_the_next_is(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()

    async def submit() -> None:
        commits.writer.submit(hold)

    await asyncio.to_thread(asyncio.run, submit())
    await asyncio.to_thread(begun.wait)
    go.set()

    assert await commits.writer.submit(lambda _: "next") == "next"
    commits.writer.close(10)


def test_the_files_that_processes_take_turns_by_are_not_for_everybody(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FileLock(tmp_path / "store.db").close()
    finally:
        os.umask(before)

    modes = {each.name: stat.filemode(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert modes == {"store.db-turn": "-rw-r-----", "store.db-inside": "-rw-r-----"}


async def test_a_group_that_the_database_refuses_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path,
) -> None:
    commits = _Commits(tmp_path)

    with pytest.raises(StoreUnavailableError) as refused:
        await commits.writer.submit(lambda db: db.execute("SELECT 1 FROM missing"))
    assert str(refused.value) == "the group was not committed: no such table: missing"
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)

    assert await commits.writer.submit(lambda _: "next") == "next"
    commits.writer.close(10)
    assert commits.groups == [1]


async def test_who_watches_is_told_how_long_a_commit_took(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    before = time.monotonic()

    await commits.writer.submit(lambda _: None)
    commits.writer.close(10)

    (took_s,) = commits.took_s
    assert 0 <= took_s <= time.monotonic() - before


async def test_who_waits_hears_of_a_fault_of_the_writer_and_who_comes_next_is_served(
    tmp_path: Path,
) -> None:
    commits = _Commits(tmp_path)
    faults = [TypeError("of the service, not of the database")]

    def fail_once(_: int) -> None:
        if faults:
            raise faults.pop()

    commits.during_pause = fail_once

    with pytest.raises(TypeError, match="of the service"):
        await commits.at_once(5)
    outcome = await commits.writer.submit(lambda connection: connection.in_transaction)
    commits.writer.close(10)

    assert outcome is True
    assert commits.groups[-1] == 1
