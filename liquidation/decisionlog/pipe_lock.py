"""The file that workers lock who log to one pipe, so that lines stay whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from liquidation.decisionlog.opening import LogbookError
from liquidation.store.locations import SqliteFile, StoreLocation

_NAME: Final = "liquidation-log"


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
        return os.memfd_create(_NAME)
    except (AttributeError, OSError):
        return None


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        descriptor, name = tempfile.mkstemp(prefix=_NAME)
    except OSError as error:
        raise LogbookError(f"workers cannot take turns: {error.strerror}") from error
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink()
