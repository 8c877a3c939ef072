"""Counters of bounded size: what is counted while a log is read, however long it is."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

from liquidation.rules.numbers import EXACT, ZERO

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

_MAX_NAMES: Final = 100_000
# Latencies that are told apart; if there are more, only their first bits are kept.
_MAX_LATENCIES: Final = 50_000
_KEPT_BITS: Final = 6
# Runs of numbers that are held of one process, and processes that are followed.
_MAX_RUNS: Final = 2_000
_MAX_PROCESSES: Final = 20_000
# Times that can be drawn, wide buckets around them included.
_YEARS: Final = range(1971, 9000)
# A product of two numbers, or a sum of such.
_AMOUNT: Final = re.compile(r"[0-9]{1,60}(?:\.[0-9]{1,60})?").fullmatch
# Each width in microseconds is a multiple of the one before.
_WIDTHS: Final = (
    10_000, 50_000, 100_000, 500_000, SECOND_US, 5 * SECOND_US, 10 * SECOND_US, 30 * SECOND_US,
    MINUTE_US, 5 * MINUTE_US, 10 * MINUTE_US, 30 * MINUTE_US, HOUR_US, 3 * HOUR_US, 6 * HOUR_US,
    12 * HOUR_US, DAY_US, 7 * DAY_US, 28 * DAY_US, 364 * DAY_US, 3640 * DAY_US, 36_400 * DAY_US,
    364_000 * DAY_US,
)  # fmt: skip
# How many characters of a timestamp tell a bucket of at least this width.
_PREFIXES: Final = ((DAY_US, 10), (HOUR_US, 13), (MINUTE_US, 16), (SECOND_US, 19), (0, 22))


@dataclass(slots=True)
class Count:
    """How many lines, how many of them refused, and their notional in USDC."""

    lines: int = 0
    refused: int = 0
    notional: Decimal = ZERO

    def add(self, lines: int = 1, refused: int = 0, notional: Decimal = ZERO) -> None:
        """Counts lines."""
        self.lines += lines
        self.refused += refused
        if notional:
            self.notional = EXACT.add(self.notional, notional)


class TopK:
    """Counts by name, of as many names as there is room for.

    If room runs out, the names with the fewest lines are forgotten; `may_lack` is then how many
    lines the count of one name may lack at most, else 0. `all` counts every name.
    """

    def __init__(self, room: int = _MAX_NAMES) -> None:
        self._room = room
        self._lines: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._notional: dict[str, Decimal] = {}
        self.all = Count()
        self.may_lack = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, name: str, lines: int = 1, refused: int = 0, notional: Decimal = ZERO) -> None:
        """Counts lines of one name."""
        self._lines[name] += lines
        if refused:
            self._refused[name] += refused
        if notional:
            self._notional[name] = EXACT.add(self._notional.get(name, ZERO), notional)
        self.all.add(lines, refused, notional)
        self._bound()

    def add_all(self, names: Sequence[str], refused: Sequence[str]) -> None:
        """Counts a line of each of `names`; `refused` has the names of those that are."""
        self._lines.update(names)
        self._refused.update(refused)
        self.all.add(len(names), len(refused))
        self._bound()

    def top(self, most: int) -> list[tuple[str, Count]]:
        """The names with the most lines, then by notional, then by name."""
        notional = self._notional
        ranked = sorted(
            ((name, lines) for name, lines in self._lines.items() if lines),
            key=lambda each: (-each[1], -notional.get(each[0], ZERO), each[0]),
        )[:most]
        return [
            (name, Count(lines, self._refused[name], notional.get(name, ZERO)))
            for name, lines in ranked
        ]

    def lines_of(self, name: str) -> int:
        """How many lines of one name, 0 if it is not known."""
        return self._lines[name]

    def _bound(self) -> None:
        """Keeps at most half of the names once there are too many."""
        if len(self._lines) <= self._room:
            return
        kept, least = 0, 0
        for least, names in sorted(Counter(self._lines.values()).items(), reverse=True):  # noqa: B007 - the last one is what is looked for
            kept += names
            if kept > self._room // 2:
                break
        self.may_lack += least
        self._lines = Counter({name: n for name, n in self._lines.items() if n > least})
        self._refused = Counter({k: n for k, n in self._refused.items() if k in self._lines})
        self._notional = {k: n for k, n in self._notional.items() if k in self._lines}


@dataclass(slots=True)
class Bucket:
    """What happened in one span of time: lines by code, and notional by outcome."""

    codes: Counter[int] = field(default_factory=Counter)
    accepted: Decimal = ZERO
    refused: Decimal = ZERO

    @property
    def lines(self) -> int:
        """All lines."""
        return self.codes.total()

    @property
    def refused_lines(self) -> int:
        """Lines with any code but 0."""
        return self.lines - self.codes[0]

    def add(self, other: "Bucket") -> None:
        """Takes over what the other counted."""
        self.codes.update(other.codes)
        self.accepted = EXACT.add(self.accepted, other.accepted)
        self.refused = EXACT.add(self.refused, other.refused)


class TimeSeries:
    """Buckets of time, which become wider if there are more of them than room.

    If `dense`, empty buckets between others count as well.
    """

    def __init__(
        self, widths: Sequence[int] = _WIDTHS, room: int = 180, *, dense: bool = True
    ) -> None:
        self._widths = widths
        self._room = room
        self._dense = dense
        self._buckets: dict[int, Bucket] = {}
        self.width_us = widths[0]

    @property
    def prefix(self) -> int:
        """How many characters of a timestamp tell its bucket."""
        return next(length for width, length in _PREFIXES if self.width_us >= width)

    def add(self, timestamp: str, code: int, lines: int = 1, notional: Decimal = ZERO) -> None:
        """Counts lines at a time, of which `prefix` characters will do; nothing if it is none."""
        at_us = time_us(timestamp)
        if at_us is None:
            return
        bucket = self._buckets.get(at_us // self.width_us)
        if bucket is None:
            bucket = self._buckets[at_us // self.width_us] = Bucket()
            while self._is_full() and self.width_us != self._widths[-1]:
                self._widen()
            bucket = self._buckets[at_us // self.width_us]
        bucket.codes[code] += lines
        if not notional:
            return
        if code == 0:
            bucket.accepted = EXACT.add(bucket.accepted, notional)
        else:
            bucket.refused = EXACT.add(bucket.refused, notional)

    def buckets(self) -> Iterator[tuple[int, Bucket]]:
        """When each begins, in microseconds since the Unix epoch, and what it holds."""
        if self._dense and self._buckets:
            places: Sequence[int] = range(min(self._buckets), max(self._buckets) + 1)
        else:
            places = sorted(self._buckets)
        for place in places:
            yield place * self.width_us, self._buckets.get(place) or Bucket()

    def _is_full(self) -> bool:
        if self._dense:
            return max(self._buckets) - min(self._buckets) >= self._room
        return len(self._buckets) > self._room

    def _widen(self) -> None:
        wider = self._widths[self._widths.index(self.width_us) + 1]
        factor, self.width_us = wider // self.width_us, wider
        narrow, self._buckets = self._buckets, {}
        for place, bucket in narrow.items():
            self._buckets.setdefault(place // factor, Bucket()).add(bucket)


def time_us(timestamp: str) -> int | None:
    """Microseconds since the Unix epoch of a timestamp in UTC; None if it is no time."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def parse_amount(text: str) -> Decimal:
    """An amount in USDC, exactly; 0 if it is none."""
    return Decimal(text) if _AMOUNT(text) else ZERO


class Latencies:
    """How long calls took, in microseconds: exact, or within 1.6 % if there are too many values."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.largest = 0
        self.relative_error = "0"

    @property
    def count(self) -> int:
        """How many calls."""
        return self._counts.total()

    def add_all(self, latencies_us: Sequence[int]) -> None:
        """Counts calls."""
        self._counts.update(latencies_us)
        self.largest = max(self.largest, *latencies_us, 0)
        if len(self._counts) > _MAX_LATENCIES:
            self._coarsen()

    def percentile(self, percent: str) -> int:
        """What `percent` of all take at most, 0 if there are none."""
        left = Decimal(percent) * self.count / 100
        for latency_us, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(latency_us, self.largest)
        return self.largest

    def ranges(self) -> list[tuple[int, int, int]]:
        """From, below, and how many, in steps of 1, 2, 5, 10 and so on; none left out between."""
        edges = [0, *(digit * 10**power for power in range(19) for digit in (1, 2, 5))]
        found = [0] * len(edges)
        at = 0
        for latency_us, count in sorted(self._counts.items()):
            while at + 1 < len(edges) and edges[at + 1] <= latency_us:
                at += 1
            found[at] += count
        used = [index for index, count in enumerate(found) if count]
        if not used:
            return []
        return [
            (edges[index], edges[index + 1], found[index])
            for index in range(used[0], min(used[-1], len(edges) - 2) + 1)
        ]

    def _coarsen(self) -> None:
        """Keeps the first bits of each, and the middle of what the rest may be."""
        coarse: Counter[int] = Counter()
        for latency_us, count in self._counts.items():
            rest = max(latency_us.bit_length() - _KEPT_BITS, 0)
            coarse[latency_us >> rest << rest | (1 << rest) >> 1] += count
        self._counts = coarse
        self.relative_error = "0.016"


class SequenceNumbers:
    """The `seq` of every process: which are missing between the first and the last, or double."""

    def __init__(self) -> None:
        self._runs: dict[str, list[list[int]]] = {}
        self.twice = 0
        self.not_followed = 0

    @property
    def processes(self) -> int:
        """How many processes wrote the log."""
        return len(self._runs)

    @property
    def missing(self) -> int:
        """How many numbers are missing in all."""
        return sum(last - first + 1 for _, first, last in self.gaps())

    def add(self, process: str, seq: int) -> None:
        """Counts a line's number. Lines come in order, or nearly so."""
        runs = self._runs.get(process)
        if runs is None:
            if len(self._runs) >= _MAX_PROCESSES:
                self.not_followed += 1
            else:
                self._runs[process] = [[seq, seq]]
        elif seq == runs[-1][1] + 1:
            runs[-1][1] = seq
        elif len(runs) < _MAX_RUNS:
            self._insert(runs, seq)
        else:
            self.not_followed += 1

    def _insert(self, runs: list[list[int]], seq: int) -> None:
        place = len(runs)
        while place and runs[place - 1][0] > seq:
            place -= 1
        if place and runs[place - 1][1] >= seq:
            self.twice += 1
            return
        runs.insert(place, [seq, seq])
        for index in (place + 1, place):
            if 0 < index < len(runs) and runs[index - 1][1] + 1 == runs[index][0]:
                runs[index - 1][1] = runs.pop(index)[1]

    def gaps(self) -> Iterator[tuple[str, int, int]]:
        """Process, first and last number of every gap."""
        for process, runs in self._runs.items():
            for left, right in pairwise(runs):
                yield process, left[1] + 1, right[0] - 1
