"""Looks into a SQLite file as one that is not there: nothing is made, written or held up."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

__all__ = ["reading"]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads the file at `path`, whoever uses it meanwhile.

    Raises:
        sqlite3.Error: the file is not there or cannot be read; also from what is read on it.
    """
    # A reader makes the files of the write-ahead log where they are missing, and leaves them
    # behind, as its own. Where they are not there, all that was written is in the file itself.
    beside = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))
    alone = "" if all(each.exists() for each in beside) else "&immutable=1"
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{alone}"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection
