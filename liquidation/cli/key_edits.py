"""Reading and changing a file of API keys: one writer at a time, and never half a file."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from liquidation.auth.key_file import keys_text, read_keys
from liquidation.auth.keys import KeyRing, KeysError

__all__ = ["edit_keys", "read_key_file"]


def read_key_file(path: Path) -> KeyRing:
    """The keys in the file at `path`.

    Raises:
        KeysError: it is not a file of keys.
        OSError: it cannot be read.
    """
    try:
        return read_keys(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise KeysError("is not UTF-8 text") from None


def edit_keys(path: Path, change: Callable[[KeyRing], KeyRing], *, create: bool = False) -> None:
    """Puts what `change` makes of the keys in the file in its place, at once and synced to disk.

    Whoever reads the file meanwhile sees all of the old or all of the new one. It keeps its mode
    and owner; a new one, which `create` allows, is for its owner alone. Of several that edit files
    of one directory each waits for its turn.

    Raises:
        KeysError: it is not a file of keys, or `change` refuses.
        OSError: it cannot be read or written; it is as it was.
    """
    # A link stays one: the file that it leads to is replaced.
    path = path.resolve()
    with _alone_in(path.parent) as directory:
        try:
            ring, before = read_key_file(path), path.stat()
        except FileNotFoundError:
            if not create:
                raise
            ring, before = KeyRing(), None
        _replace(path, keys_text(change(ring)), before)
        os.fsync(directory)


@contextmanager
def _alone_in(directory: Path) -> Iterator[int]:
    """The directory's descriptor, locked against other editors; the end of a process unlocks it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str, before: os.stat_result | None) -> None:
    # The new file gets mode 0600 before anything is written to it.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None:
                _take_over(descriptor, before)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Gives a file owner and mode of another, without which a service could no longer read it."""
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, before.st_mode & 0o7777)
