"""Follows logs that grow, through rotation: renamed and created anew, or copied and truncated."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from liquidation.analysis.entries import Broken, Entry, Lines

__all__ = ["follow"]

_CHUNK: Final = 256 * 1024
# Files of one name that are read at once: lines go on into one that was renamed, until the
# process that writes it is started anew.
_MAX_OPEN: Final = 4
# Bytes before the place read to that are looked at again: where they changed, the file was
# truncated and has grown past that place since.
_WITNESS: Final = 64


def follow(
    paths: Sequence[Path], wait: Callable[[], None], on_broken: Callable[[Broken], None]
) -> Iterator[Entry]:
    """Every entry of the files from their begin, and what is written to them from then on.

    Never ends by itself. `wait` is called whenever there is nothing to read.

    Raises:
        OSError: a file cannot be opened at the start, or read.
    """
    followed = [_Followed(path, on_broken) for path in paths]
    try:
        for each in followed:
            each.open_first()
        while True:
            read = False
            for each in followed:
                for entry in each.poll():
                    read = True
                    yield entry
            if not read:
                wait()
    finally:
        for each in followed:
            each.close()


class _Followed:
    """All files that have, or had, one name."""

    def __init__(self, path: Path, on_broken: Callable[[Broken], None]) -> None:
        self._path = path
        self._on_broken = on_broken
        self._open: list[_Grown] = []

    def open_first(self) -> None:
        self._open.append(self._opened())

    def poll(self) -> Iterator[Entry]:
        """What came since; a file of the name that is new is read from its begin."""
        for grown in self._open:
            yield from grown.poll()
        try:
            if not self._open[-1].is_other(self._path.stat()):
                return
            self._open.append(self._opened())
        except FileNotFoundError:
            # Renamed, and not created anew yet.
            return
        yield from self._open[-1].poll()
        while len(self._open) > _MAX_OPEN:
            oldest = self._open.pop(0)
            yield from oldest.poll()
            oldest.close()

    def close(self) -> None:
        for grown in self._open:
            grown.close()

    def _opened(self) -> "_Grown":
        return _Grown(self._path.open("rb"), Lines(str(self._path), self._on_broken))


class _Grown:
    """One file, and how far it is read."""

    def __init__(self, file: BinaryIO, lines: Lines) -> None:
        self._file = file
        self._lines = lines
        self._place = 0
        self._witness = b""

    def is_other(self, status: os.stat_result) -> bool:
        own = os.fstat(self._file.fileno())
        return (own.st_dev, own.st_ino) != (status.st_dev, status.st_ino)

    def poll(self) -> Iterator[Entry]:
        descriptor = self._file.fileno()
        if self._was_truncated():
            # What was read of a last line is gone with the rest.
            yield from self._lines.end()
            self._place, self._witness = 0, b""
        while chunk := os.pread(descriptor, _CHUNK, self._place):
            self._place += len(chunk)
            self._witness = (self._witness + chunk[-_WITNESS:])[-_WITNESS:]
            yield from self._lines.feed(chunk)

    def close(self) -> None:
        self._file.close()

    def _was_truncated(self) -> bool:
        start = self._place - len(self._witness)
        return os.pread(self._file.fileno(), len(self._witness), start) != self._witness
