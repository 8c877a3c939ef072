"""The lock by which processes that write one SQLite file take turns."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["FileLock"]


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
    def held(self) -> Iterator[None]:
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


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
