"""Reads a decision log: several files or a stream, plain or compressed, whatever stands in them.

Reading never fails because of what is in a file. A line that is none of the log's is counted and
passed over. Memory is bounded by the longest line that is taken.
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from liquidation.analysis.entries import Broken, Entry, Lines, numbered

__all__ = [
    "Broken",
    "Entry",
    "Filter",
    "Reader",
    "line_time",
    "numbered",
    "parse_moment",
    "read_lines",
    "with_rotated",
]

# Bytes read at once.
_CHUNK: Final = 256 * 1024
# Broken lines that are remembered with their place; all are counted.
_REMEMBERED: Final = 10
_GZIP: Final = b"\x1f\x8b"

_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])").fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SIBLING: Final = re.compile(r"(?:\.([0-9]{1,9})|-([0-9]{8,14}))(\.gz)?").fullmatch


class Reader:
    """Iterates over the entries of several logs, one after the other.

    `broken` counts the lines that are none of the log's, `first_broken` has the first few, and
    `on_broken` is told of each. An empty file name, or none at all, is standard input.

    Iterating raises OSError where a file cannot be opened or read.
    """

    def __init__(
        self,
        paths: Sequence[Path | None] = (),
        on_broken: Callable[[Broken], None] | None = None,
    ) -> None:
        """`None` and `-` stand for standard input, and so does no path at all."""
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

    def tell_broken(self, broken: Broken) -> None:
        """Counts a line that is none of the log's."""
        self.broken += 1
        if len(self.first_broken) < _REMEMBERED:
            self.first_broken.append(broken)
        if self._on_broken is not None:
            self._on_broken(broken)

    def _read(self, file: BinaryIO, name: str) -> Iterator[Entry]:
        lines = Lines(name, self.tell_broken)
        try:
            for chunk in _plain(_chunks(file)):
                yield from lines.feed(chunk)
        except zlib.error:
            lines.broken("the compressed data is damaged from here on")
        yield from lines.end()


def read_lines(
    paths: Sequence[Path | None] = (), on_broken: Callable[[Broken], None] | None = None
) -> Reader:
    """The entries of several logs; see `Reader`."""
    return Reader(paths, on_broken)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    # `read1` gives what a pipe has; `read` would wait for a whole chunk.
    read1 = getattr(file, "read1", file.read)
    while chunk := read1(_CHUNK):
        yield chunk


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes of a file, inflated where they are compressed; its name is not asked."""
    first = next(chunks, b"")
    if not first.startswith(_GZIP):
        yield first
        yield from chunks
        return
    inflate = zlib.decompressobj(wbits=31)
    for chunk in _after(first, chunks):
        rest = chunk
        while rest:
            if inflate.eof:
                # Files that were compressed one by one and then joined are one log.
                inflate = zlib.decompressobj(wbits=31)
            yield inflate.decompress(rest, _CHUNK)
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise zlib.error


def _after(first: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def with_rotated(path: Path) -> list[Path]:
    """The log at `path` and what was rotated away from it, oldest first.

    Known are `decisions.log.1`, `decisions.log.2.gz` (the higher, the older) and
    `decisions.log-20261122`, each also as `.gz`.
    """
    found: dict[tuple[int, int], Path] = {}
    for sibling in path.parent.iterdir():
        matched = _SIBLING(sibling.name.removeprefix(path.name))
        if not sibling.name.startswith(path.name) or matched is None or not sibling.is_file():
            continue
        number, date, compressed = matched.groups()
        age = (0, int(date)) if date else (1, -int(number))
        # While a file is being compressed both are there, and only the plain one is whole.
        if not compressed or age not in found:
            found[age] = sibling
    rotated = [found[age] for age in sorted(found)]
    return [*rotated, path] if path.exists() or not rotated else rotated


def parse_moment(text: str, now: datetime) -> datetime | None:
    """The moment that `text` names: RFC 3339, or how long before `now`, such as `30m` or `7d`.

    A time without an offset is UTC. None where it is neither.
    """
    try:
        if (ago := _AGO(text)) is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def line_time(moment: datetime) -> str:
    """A moment as `timestamp` has it; such texts compare as the moments do."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are wanted: those that fit all that is set. What is not set fits any line.

    `since` is inclusive, `until` is not. A line that lacks a key does not fit what asks for it.
    """

    codes: frozenset[int] = field(default_factory=frozenset)
    rule: str | None = None
    account_id: str | None = None
    liquidator_id: str | None = None
    liquidation_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    min_latency_us: int | None = None

    @property
    def all(self) -> bool:
        """Whether every line fits."""
        return self == Filter()

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether a line is wanted."""
        exact = (
            ("rule", self.rule),
            ("account_id", self.account_id),
            ("liquidator_id", self.liquidator_id),
            ("liquidation_id", self.liquidation_id),
            ("outcome", self.outcome),
        )
        return (
            all(wanted is None or fields.get(key) == wanted for key, wanted in exact)
            and (not self.codes or _is_one_of(fields.get("code"), self.codes))
            and self._in_time(fields.get("timestamp"))
            and self._slow(fields.get("latency_us"))
        )

    def _in_time(self, timestamp: object) -> bool:
        if self.since is None and self.until is None:
            return True
        if not isinstance(timestamp, str):
            return False
        return (self.since is None or timestamp >= line_time(self.since)) and (
            self.until is None or timestamp < line_time(self.until)
        )

    def _slow(self, latency_us: object) -> bool:
        if self.min_latency_us is None:
            return True
        return isinstance(latency_us, int) and latency_us >= self.min_latency_us


def _is_one_of(code: object, wanted: frozenset[int]) -> bool:
    return isinstance(code, int) and code in wanted
