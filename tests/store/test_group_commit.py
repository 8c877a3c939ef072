"""Which writes share a commit."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from liquidation.store.group_commit import MAX_GROUP, GroupCommit, Turnstile


class _Commits:
    """A writer of a file, its groups, and what goes on while it waits for more jobs."""

    def __init__(self, directory: Path, most: int = MAX_GROUP) -> None:
        self.groups: list[int] = []
        self.pauses = 0
        self.during_pause: Callable[[int], None] = lambda _: None
        path = directory / "store.db"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.writer = GroupCommit(
            connection,
            Turnstile(path),
            most,
            lambda writes, _: self.groups.append(writes),
            self._pause,
        )

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


async def test_a_busy_group_takes_in_who_comes_in_the_moment_that_it_waits(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    _submit_in_first_pause(commits, jobs=2)

    await commits.at_once(5)
    commits.writer.close(10)

    assert commits.groups == [1, 7]
    assert commits.pauses == 1


async def test_a_flood_waits_once_more_while_jobs_go_on_coming(tmp_path: Path) -> None:
    commits = _Commits(tmp_path)
    _submit_in_first_pause(commits, jobs=4)

    await commits.at_once(5)
    commits.writer.close(10)

    # Five, four in the first moment, nobody in the second.
    assert commits.groups == [1, 9]
    assert commits.pauses == 2


async def test_a_full_group_waits_for_nobody(tmp_path: Path) -> None:
    commits = _Commits(tmp_path, most=4)

    await commits.at_once(4)
    commits.writer.close(10)

    assert commits.groups == [1, 4]
    assert commits.pauses == 0


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
