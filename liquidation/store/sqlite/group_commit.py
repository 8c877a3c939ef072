"""One writer thread for one SQLite file: what arrives together is committed together.

A commit costs a sync to disk, whatever it holds. Jobs that queue up while a commit is under way
form the next group; a job that comes alone is committed at once and waits for nobody. A job that
raises takes nothing of the others back: the group is then done again, each job with a savepoint of
its own. So a job may run twice, and only what it does to the database may count.

Several processes on one file take turns (`FileLock`): SQLite's own busy handler sleeps and tries
again, and one of two busy writers can starve for over a second.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from liquidation.store.base import CommitObserver, StoreUnavailableError

__all__ = ["MAX_GROUP", "FileLock", "GroupCommit", "Job"]

Job = Callable[[sqlite3.Connection], Any]

# A group is bounded so that the first job in it does not wait for a flood behind it.
MAX_GROUP: Final = 256
# From this many jobs at once, now or in the group before, a group waits a moment for more.
_BUSY: Final = 4
# That moment, in seconds: callers that the last commit answered are on their way with the next. The
# thread sleeps through it: woken by each job, it would take the interpreter from the event loop
# that the jobs come from.
_LINGER_S: Final = 0.002
# A group that this many are in by then waits once more, up to twice as many. Both this and the
# sleep: 1.12 times the claims a second at 64 calls in flight over gRPC, and no change that is seen
# at 16. Four waits, up to 48, gain more at 64, and cost a quarter of the rate at 8 and 16.
_FLOOD: Final = 8


@dataclass(frozen=True, slots=True)
class _Queued:
    job: Job
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"


class FileLock:
    """Lets the processes that write one file in one after the other, in turn.

    Two locks of the kernel: who waits for the second holds the first. The one that comes out finds
    the first held by the one that waits, so it cannot get in again before that one. The kernel
    gives a lock back when its holder dies.
    """

    def __init__(self, path: Path) -> None:
        """Uses two files beside `path`."""
        self._turn = _lock_file(path.with_name(f"{path.name}-turn"))
        self._inside = _lock_file(path.with_name(f"{path.name}-inside"))

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Waits for its turn; nobody else is inside while the block runs."""
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._inside, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._inside, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the lock files back."""
        os.close(self._turn)
        os.close(self._inside)


class GroupCommit:
    """Runs jobs in grouped transactions on a connection that only its thread uses."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        turnstile: FileLock,
        most: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes both over. `connection` is in autocommit mode and usable from any thread.

        `most` bounds a group; 1 commits each job by itself. `committed` is told of each group.
        `pause` is how the thread waits for more jobs, so many seconds.
        """
        self._connection = connection
        self._turnstile = turnstile
        self._most = most
        self._committed = committed
        self._pause = pause
        self._last = 0
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> "asyncio.Future[Any]":
        """Runs `job` in the next group. The future ends when the group is on disk.

        It raises what the job raised, or StoreUnavailableError where the group was not committed.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Queued(job, loop, done))
        return done

    def close(self, patience_s: float) -> None:
        """Commits what was submitted, ends the thread and closes the connection.

        A thread that is stuck in the file system after `patience_s` is left behind.
        """
        self._queue.put(None)
        self._thread.join(patience_s)

    def _run(self) -> None:
        ended = False
        while not ended and (first := self._queue.get()) is not None:
            group = [first]
            try:
                ended = self._gather(group)
                self._last = len(group)
                self._commit(group)
            except Exception as error:  # noqa: BLE001 - raised by whoever submitted a job
                # A fault of ours: those who wait hear of it, and the thread serves who comes next.
                self._roll_back()
                _tell(group, [(None, error)] * len(group))
        self._connection.close()
        self._turnstile.close()

    def _gather(self, group: list[_Queued]) -> bool:
        """Adds to the first job who goes with it; True where there will be no other group."""
        ended = self._drain(group)
        least = 0
        while (
            not ended
            and max(len(group), self._last) >= _BUSY
            and least <= len(group) < min(self._most, 2 * _FLOOD)
        ):
            # Who waits once more does so only while jobs go on coming.
            least = max(_FLOOD, len(group) + 1)
            self._pause(_LINGER_S)
            ended = self._drain(group)
        return ended

    def _drain(self, group: list[_Queued]) -> bool:
        """Adds what is queued, up to a full group. True where there will be no more."""
        while len(group) < self._most:
            try:
                queued = self._queue.get_nowait()
            except queue.Empty:
                return False
            if queued is None:
                return True
            group.append(queued)
        return False

    def _commit(self, group: list[_Queued]) -> None:
        begun = time.monotonic()
        try:
            with self._turnstile.passed():
                outcomes = self._transaction(group)
        except (sqlite3.Error, OSError) as error:
            self._roll_back()
            failure = StoreUnavailableError(f"the group was not committed: {error}")
            failure.__cause__ = error
            outcomes = [(None, failure)] * len(group)
        else:
            self._committed(len(group), time.monotonic() - begun)
        _tell(group, outcomes)

    def _transaction(self, group: list[_Queued]) -> list[tuple[Any, Exception | None]]:
        """All jobs in one transaction; where one raises, again with each set apart."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes: list[tuple[Any, Exception | None]] = [
                (queued.job(self._connection), None) for queued in group
            ]
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001 - raised again, for the one whose job it is
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._set_apart(queued.job) for queued in group]
        self._connection.execute("COMMIT")
        return outcomes

    def _set_apart(self, job: Job) -> tuple[Any, Exception | None]:
        """The job's result or what it raised; a fault of the database itself ends the group."""
        self._connection.execute("SAVEPOINT job")
        try:
            result = job(self._connection)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed on to the one who submitted the job
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return None, error
        self._connection.execute("RELEASE job")
        return result, None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # SQLite rolls back by itself on a full disk or an I/O error.
                return


def _tell(group: list[_Queued], outcomes: list[tuple[Any, Exception | None]]) -> None:
    """Wakes each loop once, whatever the number of its callers."""
    by_loop = defaultdict(list)
    for queued, outcome in zip(group, outcomes, strict=True):
        by_loop[queued.loop].append((queued.done, *outcome))
    for loop, results in by_loop.items():
        # A loop that was closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, results)


def _settle(results: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
    """Gives each caller its own outcome, all in one turn of the loop."""
    for done, result, raised in results:
        if done.done():
            continue
        if raised is None:
            done.set_result(result)
        else:
            done.set_exception(raised)


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
