"""Reads decision logs: several files or a stream, plain or compressed, once or as they grow.

Reading never fails because of what is in a file: what is no line of the log is counted and passed
over. Memory is bounded by the longest line that is taken.
"""

import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

_CHUNK: Final = 256 * 1024
# Bytes of the longest line that is taken; the service writes none of a quarter of it.
_MAX_LINE: Final = 64 * 1024 * 1024
# What every line of the service begins with.
_HEAD: Final = b'{"timestamp":"'
# Broken lines that are remembered with their place; all are counted.
_REMEMBERED: Final = 10
_GZIP: Final = b"\x1f\x8b"
_ROTATED: Final = re.compile(r"(?:\.([0-9]{1,9})|-([0-9]{8,14}))(\.gz)?").fullmatch
# Files of one name that are followed at once: lines go on into one that was renamed, until the
# process that writes it is started anew.
_MAX_OPEN: Final = 4
# Bytes before the place read to that are compared: if they changed, the file was truncated and
# has grown past that place since.
_WITNESS: Final = 64

Fields = Mapping[str, Any]


class Entry(NamedTuple):
    """A line of the log. `raw` is what stood there, without its newline."""

    fields: dict[str, Any]
    raw: bytes
    file: str
    line: int

    @property
    def source(self) -> str:
        """Where it stands: `FILE:LINE`."""
        return f"{self.file}:{self.line}"


class Broken(NamedTuple):
    """A line that is none of the log's, and why."""

    file: str
    line: int
    problem: str

    @property
    def source(self) -> str:
        """Where it stands: `FILE:LINE`."""
        return f"{self.file}:{self.line}"


OnBroken = Callable[[Broken], None]


def is_decision(fields: Fields) -> bool:
    """Whether a line tells a decision that was made for it.

    That is a `decision`, or the `claim` of a begin, unless its `request_id` was known: then the
    answer was given before.
    """
    event = fields.get("event")
    if event == "decision":
        return True
    return event == "claim" and fields.get("change") == "begin" and fields.get("known") is not True


def text_of(fields: Fields, key: str) -> str:
    """The text of a key; "" if there is none."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def int_of(fields: Fields, key: str, allowed: range, otherwise: int) -> int:
    """The whole number of a key, or `otherwise` if it is none that is allowed."""
    value = fields.get(key)
    return value if isinstance(value, int) and value in allowed else otherwise


def code_of(fields: Fields) -> int:
    """The code of a line: 0 if accepted, -1000 if it has none that could be one."""
    return int_of(fields, "code", range(-9999, 1), -1000)


class Lines:
    """Cuts the bytes of one file into entries; what is no line of the log goes to `on_broken`."""

    def __init__(self, file: str, on_broken: OnBroken) -> None:
        self._file = file
        self._on_broken = on_broken
        self._number = 0
        self._rest: list[bytes] = []
        self._rest_size = 0

    def feed(self, chunk: bytes) -> Iterator[Entry]:
        """The entries that end in `chunk`; what follows the last newline waits for the next."""
        lines = chunk.split(b"\n")
        last = lines.pop()
        if lines:
            lines[0] = self._take_rest(lines[0])
            yield from self._entries(lines)
        if last:
            self._rest_size += len(last)
            if self._rest_size > _MAX_LINE:
                self._rest.clear()
            else:
                self._rest.append(last)

    def end(self) -> Iterator[Entry]:
        """The last line if it is whole without a newline; else it is reported as cut short."""
        if self._rest_size:
            yield from self._entries([self._take_rest(b"")], "is cut short")

    def broken(self, problem: str) -> None:
        """Reports what is behind the last line that was read."""
        self._on_broken(Broken(self._file, self._number + 1, problem))

    def _take_rest(self, piece: bytes) -> bytes:
        if not self._rest_size:
            return piece
        if self._rest_size > _MAX_LINE:
            self.broken(f"is longer than {_MAX_LINE} bytes")
            line = b""
        else:
            line = b"".join((*self._rest, piece))
        self._rest.clear()
        self._rest_size = 0
        return line

    def _entries(self, lines: list[bytes], problem: str = "is not JSON") -> Iterator[Entry]:
        loads, file, number = orjson.loads, self._file, self._number
        for line in lines:
            number += 1
            try:
                fields = loads(line)
                known = isinstance(fields["event"], str)
            except (ValueError, TypeError, KeyError):
                known = False
            self._number = number
            if known:
                yield Entry(fields, line, file, number)
            else:
                yield from self._unusual(line, problem)

    def _unusual(self, line: bytes, problem: str) -> Iterator[Entry]:
        """What is no plain line: an empty one, a foreign one, or one glued to a torn one."""
        if not line.strip():
            return
        glued = None
        try:
            problem = "has no event" if isinstance(orjson.loads(line), dict) else "is not an object"
        except ValueError:
            # A process that was killed leaves a torn line, and the next one goes on behind it.
            line = line[max(line.rfind(_HEAD), 0) :]
            with suppress(ValueError):
                glued = orjson.loads(line)
        self._on_broken(Broken(self._file, self._number, problem))
        if glued is not None and isinstance(glued.get("event"), str):
            yield Entry(glued, line, self._file, self._number)


class Reader:
    """Iterates over the entries of several logs, one after the other.

    `None`, `-` and no path at all stand for standard input. `broken` counts the lines that are none
    of the log's, `first_broken` has the first few, and `on_broken` is called with each.

    Iterating raises OSError if a file cannot be opened or read.
    """

    def __init__(
        self, paths: Sequence[Path | None] = (), on_broken: OnBroken | None = None
    ) -> None:
        self._paths = tuple(paths) or (None,)
        self._on_broken = on_broken
        self.broken = 0
        self.first_broken: list[Broken] = []

    def __iter__(self) -> Iterator[Entry]:
        for path in self._paths:
            if path is None or str(path) == "-":
                yield from self._read(sys.stdin.buffer, "-")
            else:
                with path.open("rb") as file:
                    yield from self._read(file, str(path))

    def report_broken(self, broken: Broken) -> None:
        """Counts a line that is none of the log's."""
        self.broken += 1
        if len(self.first_broken) < _REMEMBERED:
            self.first_broken.append(broken)
        if self._on_broken is not None:
            self._on_broken(broken)

    def _read(self, file: BinaryIO, name: str) -> Iterator[Entry]:
        lines = Lines(name, self.report_broken)
        try:
            for chunk in _inflated(_chunks(file)):
                yield from lines.feed(chunk)
        except zlib.error:
            lines.broken("the compressed data is damaged from here on")
        yield from lines.end()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    # `read1` gives what a pipe has; `read` would wait for a whole chunk.
    read1 = getattr(file, "read1", file.read)
    while chunk := read1(_CHUNK):
        yield chunk


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes of a file, inflated if they are compressed, whatever the name says."""
    first = next(chunks, b"")
    if not first.startswith(_GZIP):
        yield first
        yield from chunks
        return
    inflate = zlib.decompressobj(wbits=31)
    for chunk in chain((first,), chunks):
        rest = chunk
        while rest:
            if inflate.eof:
                # Files that were compressed one by one and then joined are one log.
                inflate = zlib.decompressobj(wbits=31)
            yield inflate.decompress(rest, _CHUNK)
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise zlib.error


def with_rotated(path: Path) -> list[Path]:
    """The log at `path` and what was rotated away from it, oldest first.

    Known are `decisions.log.1`, `decisions.log.2.gz` (the higher, the older) and
    `decisions.log-20261122`, each also as `.gz`.
    """
    found: dict[tuple[int, int], Path] = {}
    for sibling in path.parent.iterdir():
        matched = _ROTATED(sibling.name.removeprefix(path.name))
        if not sibling.name.startswith(path.name) or matched is None or not sibling.is_file():
            continue
        number, date, compressed = matched.groups()
        age = (0, int(date)) if date else (1, -int(number))
        # While a file is being compressed both are there, and only the plain one is whole.
        if not compressed or age not in found:
            found[age] = sibling
    rotated = [found[age] for age in sorted(found)]
    return [*rotated, path] if path.exists() or not rotated else rotated


def follow(paths: Sequence[Path], wait: Callable[[], None], on_broken: OnBroken) -> Iterator[Entry]:
    """Every entry of the files from their begin, and what is written to them from then on.

    A file may be renamed and created anew, or copied and truncated. Never ends by itself; `wait`
    is called whenever there is nothing to read.

    Raises:
        OSError: a file cannot be opened at the start, or read.
    """
    followed = [_FollowedName(path, on_broken) for path in paths]
    try:
        for each in followed:
            each.open()
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


class _FollowedName:
    """All files that have, or had, one name."""

    def __init__(self, path: Path, on_broken: OnBroken) -> None:
        self._path = path
        self._on_broken = on_broken
        self._files: list[_GrowingFile] = []

    def open(self) -> None:
        lines = Lines(str(self._path), self._on_broken)
        self._files.append(_GrowingFile(self._path.open("rb"), lines))

    def poll(self) -> Iterator[Entry]:
        """What came since; a file of the name that is new is read from its begin."""
        for file in self._files:
            yield from file.poll()
        try:
            if self._files[-1].is_at(self._path):
                return
            self.open()
        except FileNotFoundError:
            # Renamed, and not created anew yet.
            return
        yield from self._files[-1].poll()
        while len(self._files) > _MAX_OPEN:
            oldest = self._files.pop(0)
            yield from oldest.poll()
            oldest.close()

    def close(self) -> None:
        for file in self._files:
            file.close()


class _GrowingFile:
    """One file, and how far it is read."""

    def __init__(self, file: BinaryIO, lines: Lines) -> None:
        self.close = file.close
        self._descriptor = file.fileno()
        self._lines = lines
        self._place = 0
        self._witness = b""

    def is_at(self, path: Path) -> bool:
        return os.path.samestat(os.fstat(self._descriptor), path.stat())

    def poll(self) -> Iterator[Entry]:
        start = self._place - len(self._witness)
        if os.pread(self._descriptor, len(self._witness), start) != self._witness:
            # What was read of a last line is gone with the rest.
            yield from self._lines.end()
            self._place, self._witness = 0, b""
        while chunk := os.pread(self._descriptor, _CHUNK, self._place):
            self._place += len(chunk)
            self._witness = (self._witness + chunk[-_WITNESS:])[-_WITNESS:]
            yield from self._lines.feed(chunk)
