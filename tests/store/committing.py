"""A writer of a SQLite file, and all that it tells."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liquidation.store.base import TIMEOUT_S
from liquidation.store.sqlite.connections import FileLock
from liquidation.store.sqlite.group_commit import MAX_GROUP, GroupCommit, Job
from tests.store.awaited import answer_to

__all__ = ["Commits"]


class Commits:
    """A writer of a file, its groups, and what goes on while it waits for more jobs."""

    def __init__(
        self, directory: Path, most: int = MAX_GROUP, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.groups: list[int] = []
        self.faults: list[Exception] = []
        self.took_s: list[float] = []
        self.pauses = 0
        self.watched: Callable[[], None] = lambda: None
        self.during_pause: Callable[[int], None] = lambda _: None
        path = directory / "store.db"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.writer = GroupCommit(
            connection,
            FileLock(path),
            most,
            self._committed,
            timeout_s,
            self.faults.append,
            self._pause,
        )

    def submit(self, job: Job) -> "asyncio.Future[Any]":
        """Hands a job to the writer, and tells what becomes of it."""
        return answer_to(lambda done: self.writer.submit(job, done))

    def _committed(self, writes: int, seconds: float) -> None:
        self.groups.append(writes)
        self.took_s.append(seconds)
        self.watched()

    def _pause(self, _seconds: float) -> None:
        self.pauses += 1
        self.during_pause(self.pauses)

    async def at_once(self, jobs: int) -> None:
        """Commits jobs that have all queued up behind one under way; that one is a group too."""
        begun, go = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            begun.set()
            go.wait()

        first = self.submit(hold)
        await asyncio.to_thread(begun.wait)
        rest = [self.submit(lambda _: None) for _ in range(jobs)]
        go.set()
        await asyncio.gather(first, *rest)
