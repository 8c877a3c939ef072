"""Whether anybody has committed to a SQLite file in WAL mode, without asking SQLite.

The header of the WAL index (https://sqlite.org/walformat.html, section 2.1) changes with every
commit, whoever makes it, and SQLite itself compares nothing else to learn of one. It is read where
SQLite has it mapped: so it is the same memory, of the same file, whatever becomes of its name. A
mapping of our own would need a descriptor of our own, and closing that would drop every lock that
SQLite holds on the file in this process.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final, Protocol

__all__ = ["Header", "find_header", "is_settled"]

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
