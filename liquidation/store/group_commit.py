"""One writer thread for one SQLite file: what arrives together is committed together.

A commit costs a sync to disk, whatever it holds. Jobs that queue up while a commit is under way
form the next group; a job that comes alone is committed at once and waits for nobody. Within its
group each job has a savepoint of its own, so that one that fails takes nothing of the others back.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from liquidation.store.base import StoreUnavailableError

__all__ = ["GroupCommit", "Job"]

Job = Callable[[sqlite3.Connection], Any]

# A group is bounded so that the first job in it does not wait for a flood behind it.
_MAX_GROUP: Final = 256


@dataclass(frozen=True, slots=True)
class _Queued:
    job: Job
    done: "Future[Any]"


class GroupCommit:
    """Runs jobs in grouped transactions on a connection that only its thread uses."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes `connection`, which must be in autocommit mode and usable from any thread."""
        self._connection = connection
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> "Future[Any]":
        """Runs `job` in the next group. The future ends when the group is on disk.

        It raises what the job raised, or StoreUnavailableError where the group was not committed.
        """
        done: Future[Any] = Future()
        self._queue.put(_Queued(job, done))
        return done

    def close(self) -> None:
        """Commits what was submitted, ends the thread and closes the connection."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            first = self._queue.get()
            group = []
            while first is not None:
                group.append(first)
                if len(group) == _MAX_GROUP or self._queue.empty():
                    break
                first = self._queue.get()
            open_ = first is not None
            if group:
                self._commit(group)
        self._connection.close()

    def _commit(self, group: list[_Queued]) -> None:
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(queued.job) for queued in group]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            failure = StoreUnavailableError(f"the group was not committed: {error}")
            failure.__cause__ = error
            outcomes = [(None, failure)] * len(group)
        for queued, (result, raised) in zip(group, outcomes, strict=True):
            if raised is None:
                queued.done.set_result(result)
            else:
                queued.done.set_exception(raised)

    def _attempt(self, job: Job) -> tuple[Any, BaseException | None]:
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
