"""Which writes share a commit."""

import asyncio
import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from liquidation.store.base import StoreUnavailableError
from liquidation.store.sqlite.connections import FileLock
from tests.store.committing import Commits


def _submit_in_first_pause(commits: Commits, jobs: int) -> None:
    """Has the event loop submit more jobs while the writer waits for the first time."""
    loop = asyncio.get_running_loop()
    submitted = threading.Event()

    def submit() -> None:
        for _ in range(jobs):
            commits.submit(lambda _: None)
        submitted.set()

    def during(pause: int) -> None:
        if pause == 1:
            loop.call_soon_threadsafe(submit)
            submitted.wait()

    commits.during_pause = during


async def test_jobs_that_come_alone_are_committed_at_once(tmp_path: Path) -> None:
    commits = Commits(tmp_path)

    for _ in range(3):
        await commits.submit(lambda _: None)
    commits.writer.close(10)

    assert commits.groups == [1, 1, 1]
    assert commits.pauses == 0


@pytest.mark.parametrize(
    ("at_once", "in_first_pause", "group", "pauses"),
    [
        (3, 0, 3, 0),  # not busy
        (4, 0, 4, 1),  # busy, and nobody else comes
        (4, 1, 5, 2),  # who came makes it wait for more
        (64, 0, 64, 1),
        (64, 64, 128, 2),
    ],
)
async def test_how_long_a_group_waits_goes_by_how_many_are_in_it(
    tmp_path: Path, at_once: int, in_first_pause: int, group: int, pauses: int
) -> None:
    commits = Commits(tmp_path)
    _submit_in_first_pause(commits, jobs=in_first_pause)

    await commits.at_once(at_once)
    commits.writer.close(10)

    assert commits.groups == [1, group]
    assert commits.pauses == pauses


async def test_a_full_group_waits_for_nobody_and_who_is_left_is_in_the_next(tmp_path: Path) -> None:
    commits = Commits(tmp_path, most=4)

    await commits.at_once(9)
    commits.writer.close(10)

    # The last one follows a group that was busy.
    assert commits.groups == [1, 4, 4, 1]
    assert commits.pauses == 1


async def test_what_was_submitted_before_the_end_is_committed_and_the_thread_ends(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()

    jobs = [commits.submit(hold)]
    await asyncio.to_thread(begun.wait)
    jobs += [commits.submit(lambda _: None) for _ in range(2)]
    closing = asyncio.create_task(asyncio.to_thread(commits.writer.close, 10))
    go.set()
    await asyncio.gather(*jobs, closing)

    assert not commits.writer._thread.is_alive()
    assert not commits.writer._deadlines._thread.is_alive()
    assert commits.groups == [1, 2]


async def test_a_thread_that_is_stuck_is_left_behind_and_all_who_wait_are_told(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path)
    begun, go = threading.Event(), threading.Event()
    runs: list[str] = []

    def hold(_: sqlite3.Connection) -> str:
        begun.set()
        go.wait()
        return "held"

    jobs = [commits.submit(hold)]
    await asyncio.to_thread(begun.wait)
    jobs += [commits.submit(lambda _: runs.append("run"))]
    await asyncio.to_thread(commits.writer.close, 0.01)

    for told in await asyncio.gather(*jobs, return_exceptions=True):
        assert isinstance(told, StoreUnavailableError)
    assert commits.writer._thread.is_alive()
    go.set()
    await asyncio.to_thread(commits.writer._thread.join, 10)
    assert not commits.writer._thread.is_alive()
    assert (runs, commits.groups) == ([], [1])


async def test_the_thread_has_a_name_and_keeps_no_process_alive(tmp_path: Path) -> None:
    commits = Commits(tmp_path)

    assert commits.writer._thread.name == "sqlite-writer"
    assert commits.writer._thread.daemon
    commits.writer.close(10)


async def test_a_job_runs_once_unless_another_of_its_group_raises(tmp_path: Path) -> None:
    commits = Commits(tmp_path)
    runs: list[str] = []

    def run(connection: sqlite3.Connection) -> None:
        runs.append("run")
        connection.execute("SELECT 1")

    await commits.submit(run)
    commits.writer.close(10)

    assert runs == ["run"]


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
    commits = Commits(tmp_path)

    with pytest.raises(StoreUnavailableError) as refused:
        await commits.submit(lambda db: db.execute("SELECT 1 FROM missing"))
    assert str(refused.value) == "the group was not committed: no such table: missing"
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)

    assert await commits.submit(lambda _: "next") == "next"
    commits.writer.close(10)
    assert commits.groups == [1]


async def test_who_watches_is_told_how_long_a_commit_took(tmp_path: Path) -> None:
    commits = Commits(tmp_path)
    before = time.monotonic()

    await commits.submit(lambda _: None)
    commits.writer.close(10)

    (took_s,) = commits.took_s
    assert 0 <= took_s <= time.monotonic() - before


async def test_who_waits_hears_of_a_fault_of_the_writer_and_who_comes_next_is_served(
    tmp_path: Path,
) -> None:
    commits = Commits(tmp_path)
    faults = [TypeError("of the service, not of the database")]

    def fail_once(_: int) -> None:
        if faults:
            raise faults.pop()

    commits.during_pause = fail_once

    with pytest.raises(TypeError, match="of the service"):
        await commits.at_once(5)
    outcome = await commits.submit(lambda connection: connection.in_transaction)
    commits.writer.close(10)

    assert outcome is True
    assert [str(each) for each in commits.faults] == ["of the service, not of the database"]
    assert commits.groups[-1] == 1
