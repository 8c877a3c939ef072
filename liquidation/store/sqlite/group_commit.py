"""One writer thread for one SQLite file: what arrives together is committed together.

A commit costs a sync to disk, whatever it holds. Jobs that queue up while a commit is under way
form the next group; a job that comes alone is committed at once and waits for nobody. A job that
raises takes nothing of the others back: the group is then done again, each job with a savepoint of
its own. So a job may run twice, and only what it does to the database may count.

Several processes on one file take turns (`FileLock`): SQLite's own busy handler sleeps and tries
again, and one of two busy writers can starve for over a second.
"""

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from liquidation.store.base import (
    TIMEOUT_S,
    CommitObserver,
    Done,
    Fault,
    StoreUnavailableError,
    report,
)
from liquidation.store.sqlite.connections import FileLock

Job = Callable[[sqlite3.Connection], Any]


class Write:
    """A job for the writer, whose `done` takes the outcome: None once it has."""

    __slots__ = ("done", "due_s", "job")

    def __init__(self, job: Job, done: Done[Any], due_s: float) -> None:
        self.job = job
        self.done: Done[Any] | None = done
        self.due_s = due_s


class Deadlines:
    """Ends writes whose time is over, on a thread that sleeps while nothing is due."""

    def __init__(self, timeout_s: float, on_fault: Fault) -> None:
        """Each write is waited for during `timeout_s`."""
        self._timeout_s = timeout_s
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # Set while the thread looks after the writes by itself.
        self._awake = threading.Event()
        # By growing `due_s`; those answered since are removed when they would be due.
        self._writes: deque[Write] = deque()
        self._thread = threading.Thread(target=self._run, name="sqlite-deadlines", daemon=True)
        self._thread.start()

    def write(self, job: Job, done: Done[Any]) -> Write:
        """A write whose time begins now."""
        write = Write(job, done, time.monotonic() + self._timeout_s)
        self._writes.append(write)
        if not self._awake.is_set():
            self._awake.set()
        return write

    def take(self, writes: Sequence[Write]) -> list[Done[Any] | None]:
        """The callbacks to call with each outcome, None if called already."""
        with self._lock:
            takers = [write.done for write in writes]
            for write in writes:
                write.done = None
        return takers

    def close(self) -> None:
        """Ends all that still wait without a commit, and the thread."""
        self._closed.set()
        self._awake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            if not self._writes:
                self._awake.clear()
                if not self._writes:
                    self._awake.wait()
                continue
            # A write that is answered in time need not be looked at before.
            self._closed.wait(self._writes[0].due_s - time.monotonic())
            self._end(until_s=time.monotonic())
        self._end(until_s=float("inf"))

    def _end(self, until_s: float) -> None:
        over = []
        while self._writes and (self._writes[0].due_s <= until_s or self._writes[0].done is None):
            over.append(self._writes.popleft())
        for done in self.take(over):
            if done is not None:
                message = f"no commit within {self._timeout_s:g} s"
                report(done, StoreUnavailableError(message), self._on_fault)


# A group is bounded so that the first job in it does not wait for a flood behind it.
MAX_GROUP: Final = 256
# From this many jobs at once, now or in the group before, a group waits for more: callers that the
# last commit answered are on their way with the next. It waits in steps (seconds) while each brings
# one, up to so many. The thread sleeps through a step: woken by each job, it would take the
# interpreter from the thread that the jobs come from. Claims a second against no wait at all, store
# alone, medians of 3 rounds: 0.9 at 8 in flight, 1.3 at 16, 1.1 at 64.
_BUSY: Final = 4
_STEP_S: Final = 0.0005
_STEPS: Final = 4

# What became of a job that nobody waited for any more when its turn came.
_NOT_BEGUN: Final = object()


class GroupCommit:
    """Runs jobs in grouped transactions on a connection that only its thread uses."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        file_lock: FileLock,
        most: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        timeout_s: float = TIMEOUT_S,
        on_fault: Fault = lambda _: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes both over. `connection` is in autocommit mode and usable from any thread.

        `most` bounds a group; 1 commits each job by itself. `committed` is called after each group,
        and `on_fault` with what it, or a `done`, raises. A caller waits for `timeout_s`. `pause`
        sleeps so many seconds while the thread waits for more jobs.
        """
        self._connection = connection
        self._file_lock = file_lock
        self._most = most
        self._committed = committed
        self._on_fault = on_fault
        self._pause = pause
        self._last = 0
        self._deadlines = Deadlines(timeout_s, on_fault)
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done[Any]) -> None:
        """Runs `job` in the next group, and calls `done` with its result once that is on disk.

        Or what the job raised, or StoreUnavailableError if the group was not committed, or not in
        time. A job whose time is over before its group begins never runs.
        """
        self._queue.put(self._deadlines.write(job, done))

    def close(self, patience_s: float) -> None:
        """Commits what was submitted, ends the threads and closes the connection.

        A writer that is stuck in the file system after `patience_s` is left behind.
        """
        self._queue.put(None)
        self._thread.join(patience_s)
        self._deadlines.close()

    def _run(self) -> None:
        ended = False
        while not ended and (first := self._queue.get()) is not None:
            group = [first]
            try:
                ended = self._gather(group)
                outcomes = self._commit(group)
            except Exception as error:  # noqa: BLE001 - a fault of ours: the thread serves the next
                self._roll_back()
                outcomes = [error] * len(group)
                report(self._on_fault, error, self._on_fault)
            self._report(group, outcomes)
        self._connection.close()
        self._file_lock.close()

    def _gather(self, group: list[Write]) -> bool:
        """Adds jobs to the first; True if no group follows."""
        ended = self._drain(group)
        if max(len(group), self._last) >= _BUSY:
            for _ in range(_STEPS):
                size = len(group)
                if ended or size >= self._most:
                    break
                self._pause(_STEP_S)
                ended = self._drain(group)
                if len(group) == size:
                    break
        self._last = len(group)
        return ended

    def _drain(self, group: list[Write]) -> bool:
        """Adds queued jobs; True if no more will come."""
        while len(group) < self._most:
            try:
                queued = self._queue.get_nowait()
            except queue.Empty:
                return False
            if queued is None:
                return True
            group.append(queued)
        return False

    def _commit(self, group: Sequence[Write]) -> list[Any]:
        begun = time.monotonic()
        try:
            with self._file_lock.held():
                outcomes = self._transaction(group)
        except (sqlite3.Error, OSError) as error:
            self._roll_back()
            failure = StoreUnavailableError(f"the group was not committed: {error}")
            failure.__cause__ = error
            return [failure] * len(group)
        ran = sum(outcome is not _NOT_BEGUN for outcome in outcomes)
        if ran:
            took_s = time.monotonic() - begun
            report(lambda _: self._committed(ran, took_s), None, self._on_fault)
        return outcomes

    def _transaction(self, group: Sequence[Write]) -> list[Any]:
        """All jobs in one transaction; if one raises, again with each set apart."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._ran(write) for write in group]
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001 - raised again, for the one whose job it is
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._set_apart(write) for write in group]
        self._connection.execute("COMMIT")
        return outcomes

    def _ran(self, write: Write) -> Any:
        return _NOT_BEGUN if write.done is None else write.job(self._connection)

    def _set_apart(self, write: Write) -> Any:
        """The job's result or what it raised; a fault of the database itself ends the group."""
        self._connection.execute("SAVEPOINT job")
        try:
            result = self._ran(write)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed on to the one who submitted the job
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return error
        self._connection.execute("RELEASE job")
        return result

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # SQLite rolls back by itself on a full disk or an I/O error.
                return

    def _report(self, group: Sequence[Write], outcomes: Sequence[Any]) -> None:
        takers = self._deadlines.take(group)
        for done, outcome in zip(takers, outcomes, strict=True):
            if done is not None:
                report(done, outcome, self._on_fault)
        for write in group:
            # What it holds is let go of now, and not when it would have been due.
            write.job = _forgotten


def _forgotten(_: sqlite3.Connection) -> None:
    """The job of a write that is over."""
