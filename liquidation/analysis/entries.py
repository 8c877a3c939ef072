"""Lines of the decision log, cut from the bytes of a file.

What is no line of the log is told and passed over, whatever it is.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import orjson

__all__ = ["Broken", "Entry", "Lines", "numbered"]

# Bytes of the longest line that is taken; the service writes none of a quarter of it.
_MAX_LINE: Final = 64 * 1024 * 1024
# What every line of the service begins with.
_HEAD: Final = b'{"timestamp":"'


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
    """A line that is none of the log's, and why. `line` is 0 where it is about the whole file."""

    file: str
    line: int
    problem: str

    @property
    def source(self) -> str:
        """Where it stands: `FILE:LINE`."""
        return f"{self.file}:{self.line}" if self.line else self.file


def numbered(entry: Entry) -> bool:
    """Whether it is a `decision`, `claim` or `liquidation`: what carries a `seq`."""
    return "seq" in entry.fields


class Lines:
    """Cuts the bytes of one file into entries; what is no line of the log goes to `on_broken`."""

    def __init__(self, file: str, on_broken: Callable[[Broken], None]) -> None:
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
            self._keep(last)

    def end(self) -> Iterator[Entry]:
        """The last line where it is whole without a newline; else it is told as cut short."""
        if self._rest_size:
            yield from self._entries([self._take_rest(b"")], "is cut short")

    def broken(self, problem: str) -> None:
        """Tells something of the file behind the last line that was read."""
        self._on_broken(Broken(self._file, self._number + 1, problem))

    def _keep(self, piece: bytes) -> None:
        self._rest_size += len(piece)
        if self._rest_size > _MAX_LINE:
            self._rest.clear()
        else:
            self._rest.append(piece)

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
        try:
            fields = orjson.loads(line)
        except ValueError:
            self._tell(problem)
            # A process that was killed leaves a torn line, and the next one goes on behind it.
            start = line.rfind(_HEAD)
            if start > 0:
                yield from self._glued(line[start:])
            return
        self._tell("is not an object" if not isinstance(fields, dict) else "has no event")

    def _glued(self, line: bytes) -> Iterator[Entry]:
        try:
            fields = orjson.loads(line)
        except ValueError:
            return
        if isinstance(fields.get("event"), str):
            yield Entry(fields, line, self._file, self._number)

    def _tell(self, problem: str) -> None:
        self._on_broken(Broken(self._file, self._number, problem))
