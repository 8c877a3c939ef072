"""Connections to the store's SQLite file, its locks and the clock that its leases count on."""

import ctypes
import fcntl
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

from liquidation.store.base import Done, StoreUnavailableError

_R = TypeVar("_R")

# How long one process waits for another's lock on the file, in seconds.
_BUSY_S: Final = 1.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any thread by one at a time.

    Raises:
        sqlite3.Error: the file cannot be used.
    """
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose the last commits when power fails; FULL syncs each of them.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """As `connect`, for reads alone."""
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def cannot_read(error: sqlite3.Error) -> StoreUnavailableError:
    """The error for callers when SQLite cannot read."""
    unavailable = StoreUnavailableError(f"cannot read: {error}")
    unavailable.__cause__ = error
    return unavailable


class Reader:
    """Reads on one connection, for threads that may wait for each other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes `connection` over, which is in autocommit mode."""
        self._connection = connection
        self._lock = threading.Lock()

    def read(self, work: Callable[[sqlite3.Connection], _R], done: Done[_R]) -> None:
        """Tells `done` what `work` returns; all that it reads was true at the same time."""
        outcome: _R | Exception
        try:
            with self._lock:
                outcome = self._at_one_moment(work)
        except sqlite3.Error as error:
            outcome = cannot_read(error)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            outcome = error
        done(outcome)

    def _at_one_moment(self, work: Callable[[sqlite3.Connection], _R]) -> _R:
        self._connection.execute("BEGIN")
        try:
            return work(self._connection)
        finally:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Waits for a read under way, and closes the connection."""
        with self._lock:
            self._connection.close()


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads the file at `path`, whoever uses it meanwhile.

    Raises:
        sqlite3.Error: the file is not there or cannot be read; also from what is read on it.
    """
    # A reader makes the files of the write-ahead log if they are missing, and leaves them
    # behind, as its own. If they are not there, all that was written is in the file itself.
    beside = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))
    alone = "" if all(each.exists() for each in beside) else "&immutable=1"
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{alone}"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection


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


_MAPS: Final = Path("/proc/self/maps")
# The header is there twice: a writer writes the second, and then the first.
_COPY: Final = 48
# WALINDEX_MAX_VERSION, the one format that there is, in the byte order of the host; and isInit.
_VERSION: Final = 3_007_000
_VERSION_BYTES: Final = 4
_IS_INIT: Final = 12


class Header(Protocol):
    """Both copies of the header as they are now: 0.05 µs, and the interpreter is kept."""

    @property
    def raw(self) -> bytes: ...


def find_header(path: Path) -> Header | None:
    """The header of the WAL index of the file at `path`, None if it cannot be had for certain.

    A connection of this process must have read the file before, and must stay open for as long as
    the header is used: SQLite keeps its mapping, in its place, for as long as one is.
    """
    index = f"{os.path.realpath(path)}-shm"
    try:
        # A name may hold whatever else ends a line; one that holds this is written in another way.
        lines = _MAPS.read_text(errors="surrogateescape").rstrip("\n").split("\n")
    except OSError:
        return None  # not a Linux
    found = [address for address in map(_address, lines) if address[1:] == ("rw-s", 0, index)]
    if len(found) != 1:
        return None
    header = (ctypes.c_char * (2 * _COPY)).from_address(found[0][0])
    return header if is_settled(header.raw) else None


def is_settled(header: bytes) -> bool:
    """Whether the header is in use, of the known format, and nobody is at writing it."""
    version = int.from_bytes(header[:_VERSION_BYTES], sys.byteorder)
    return header[:_COPY] == header[_COPY:] and version == _VERSION and header[_IS_INIT] == 1


def _address(line: str) -> tuple[int, str, int, str]:
    """Where a line of /proc/self/maps says that something is mapped: how, from where, of what."""
    span, how, offset, _, _, *name = line.split(maxsplit=5)
    return int(span.partition("-")[0], 16), how, int(offset, 16), name[0] if name else ""


_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class StoreClock(Protocol):
    """What the embedded store reads time from. All processes of a host agree on it."""

    @property
    def boot_id(self) -> str:
        """Names the run of the host that `lease_us` counts in."""
        ...

    def lease_us(self) -> int:
        """Microseconds on a clock that only moves forward, and at one pace; leases count on it."""
        ...

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as people read them; may jump."""
        ...


class HostClock:
    """The host's own clocks: time since boot, which goes on while the host sleeps, and UTC."""

    def __init__(self) -> None:
        # If the kernel does not name its boot, every process counts as a boot of its own.
        self.boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else uuid.uuid4().hex
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def lease_us(self) -> int:
        return time.clock_gettime_ns(self._clock) // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000
