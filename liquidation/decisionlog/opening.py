"""Opens the decision log where the settings say, and opens it again when it was moved away.

Workers who log to one pipe lock a file, so that their lines stay whole.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import orjson

from liquidation.config.settings import Settings
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import FileLock, LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.store.locations import SqliteFile, StoreLocation

# How long the log may take to be written out at the end, in seconds.
_PATIENCE_S: Final = 5.0
# The name of the file that workers lock.
_TURN_NAME: Final = "liquidation-log"


class LogbookError(Exception):
    """The log cannot be opened; the text names the file and says why."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One of several processes that log; `turn` is a file that they lock to write to a pipe."""

    worker: int
    turn: Path


@dataclass(frozen=True, slots=True)
class Logbook:
    """The decision log, and the file or pipe behind it."""

    log: DecisionLog
    _sink: LogSink
    _settings: Settings

    def reopen(self) -> None:
        """Opens the log file again, as is needed after it was moved away."""
        if self._settings.log_file is None:
            return
        try:
            self._sink.switch_to(_descriptor(self._settings))
        except OSError as error:
            # Lines go on to the file that was moved away.
            self.log.note("error", "log_not_reopened", problem=str(error))
        else:
            self.log.note("info", "log_reopened")


@contextmanager
def open_log(
    settings: Settings, worker: WorkerInfo | None, observer: Observer
) -> Iterator[Logbook]:
    """The log, open while the block runs and written out at its end.

    Raises:
        LogbookError: it cannot be opened.
    """
    process = secrets.token_hex(8)
    number = 0 if worker is None else worker.worker
    try:
        sink = LogSink(
            _descriptor(settings),
            lambda lost: _gap_line(process, number, lost),
            turns=None if worker is None else FileLock(worker.turn),
        )
    except OSError as error:
        where = error.filename or settings.log_file or "standard output"
        raise LogbookError(f"{where}: {error.strerror}") from error
    masking = Masking(settings.log_redact, settings.log_redact_key)
    sampling = Sampling(settings.log_sample)
    log = DecisionLog(sink, process, number, now, time.monotonic_ns, masking, sampling, observer)
    try:
        yield Logbook(log, sink, settings)
    finally:
        lost = sink.close(_PATIENCE_S)
        if lost:
            print(f"liquidation: {lost} log lines were lost", file=sys.stderr)


def _descriptor(settings: Settings) -> int:
    if settings.log_file is None:
        return os.dup(sys.stdout.fileno())
    return os.open(settings.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


def _gap_line(process: str, worker: int, lost: int) -> bytes:
    line = {
        "timestamp": now(),
        "level": "error",
        "event": "log_lines_lost",
        "lost": lost,
        "process": process,
        "worker": worker,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def now() -> str:
    """The time as RFC 3339 text, UTC, microseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@contextmanager
def log_turn(store: StoreLocation) -> Iterator[Path]:
    """A path that processes of this user can open and lock while the block runs.

    It is beside the database where that is a file. Else no place of the file system can be taken
    for writable: it is a file in memory, which others find through the process that made it.

    Raises:
        LogbookError: there is no place for such a file.
    """
    if isinstance(store, SqliteFile):
        yield store.path.with_name(f"{store.path.name}-log")
        return
    descriptor = _file_in_memory()
    if descriptor is None:
        with _temporary() as path:
            yield path
        return
    try:
        yield _own_descriptors() / str(descriptor)
    finally:
        os.close(descriptor)


def _own_descriptors() -> Path:
    return Path(f"/proc/{os.getpid()}/fd")


def _file_in_memory() -> int | None:
    """Its descriptor; None where the system has none, or lets no other process open it."""
    try:
        # A process whose memory may not be looked at, as one with more rights than its user's, has
        # descriptors that are root's.
        if _own_descriptors().stat().st_uid != os.geteuid():
            return None
        return os.memfd_create(_TURN_NAME)
    except (AttributeError, OSError):
        return None


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        descriptor, name = tempfile.mkstemp(prefix=_TURN_NAME)
    except OSError as error:
        raise LogbookError(f"workers cannot take turns: {error.strerror}") from error
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink()
