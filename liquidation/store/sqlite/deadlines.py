"""Writes that somebody waits for: each is told once, by its commit or when its time is over."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from liquidation.store.base import Done, StoreUnavailableError
from liquidation.store.callbacks import Fault, tell

__all__ = ["Deadlines", "Job", "Write"]

Job = Callable[[sqlite3.Connection], Any]


class Write:
    """A job for the writer, and whom to tell how it ended: None once that is told."""

    __slots__ = ("done", "due_s", "job")

    def __init__(self, job: Job, done: Done[Any], due_s: float) -> None:
        self.job = job
        self.done: Done[Any] | None = done
        self.due_s = due_s


class Deadlines:
    """Tells writes that their time is over, on a thread that sleeps while nothing is due."""

    def __init__(self, timeout_s: float, on_fault: Fault) -> None:
        """Each write is waited for during `timeout_s`."""
        self._timeout_s = timeout_s
        self._on_fault = on_fault
        self._telling = threading.Lock()
        self._closed = threading.Event()
        # Set while the thread looks after the writes by itself.
        self._awake = threading.Event()
        # By growing `due_s`; those that were told since are taken out when they would be due.
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
        """Whom to tell how each ended, None if that was told; the caller tells them."""
        with self._telling:
            takers = [write.done for write in writes]
            for write in writes:
                write.done = None
        return takers

    def close(self) -> None:
        """Tells all who still wait that there was no commit, and ends the thread."""
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
            # What is told before it is due need not be looked at before.
            self._closed.wait(self._writes[0].due_s - time.monotonic())
            self._end(until_s=time.monotonic())
        self._end(until_s=float("inf"))

    def _end(self, until_s: float) -> None:
        """Tells those that were due by then, and lets go of all that were told."""
        over = []
        while self._writes and (self._writes[0].due_s <= until_s or self._writes[0].done is None):
            over.append(self._writes.popleft())
        for done in self.take(over):
            if done is not None:
                told = f"no commit within {self._timeout_s:g} s"
                tell(done, StoreUnavailableError(told), self._on_fault)
