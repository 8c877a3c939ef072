"""Counters of bounded size: what is counted while a log is read, however long it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Final

from liquidation.rules.numbers import EXACT, ZERO

__all__ = ["Latencies", "Names", "Numbers", "Series", "Slot", "Tally"]

# Names that are counted at once; with more, those that were met least are forgotten.
_MAX_NAMES: Final = 20_000
# Slots of time; with more, each becomes wider.
_MAX_SLOTS: Final = 180
# Runs of numbers that are held of one process, and processes that are followed.
_MAX_RUNS: Final = 2_000
_MAX_PROCESSES: Final = 20_000

_SECOND_US: Final = 1_000_000
_DAY_US: Final = 24 * 60 * 60 * _SECOND_US
# Widths of a slot in microseconds; each is a multiple of the one before.
_WIDTHS: Final = (
    10_000, 50_000, 100_000, 500_000, _SECOND_US, 5 * _SECOND_US, 10 * _SECOND_US,
    30 * _SECOND_US, 60 * _SECOND_US, 300 * _SECOND_US, 600 * _SECOND_US, 1800 * _SECOND_US,
    3600 * _SECOND_US, 10_800 * _SECOND_US, 21_600 * _SECOND_US, 43_200 * _SECOND_US, _DAY_US,
    7 * _DAY_US, 28 * _DAY_US, 364 * _DAY_US, 3640 * _DAY_US, 36_400 * _DAY_US, 364_000 * _DAY_US,
)  # fmt: skip

# Bits of a latency that are kept: its value is then known to within 3.2 %.
_KEPT_BITS: Final = 6


@dataclass(slots=True)
class Tally:
    """Decisions of one kind: how many, how many of them refused, and their notional in USDC."""

    count: int = 0
    refused: int = 0
    notional: Decimal = ZERO

    def add(self, *, refused: bool, notional: Decimal) -> None:
        """Counts one decision."""
        self.count += 1
        self.refused += refused
        self.notional = EXACT.add(self.notional, notional)


class Names:
    """Tallies by name, of as many names as there is room for.

    `missed` is how many decisions of one name may not be counted, 0 while all names had room.
    """

    def __init__(self, room: int = _MAX_NAMES) -> None:
        self._room = room
        self._tallies: dict[str, Tally] = {}
        self.missed = 0

    def __len__(self) -> int:
        return len(self._tallies)

    def add(self, name: str, *, refused: bool, notional: Decimal) -> None:
        """Counts one decision of `name`."""
        tally = self._tallies.get(name)
        if tally is None:
            if len(self._tallies) >= self._room:
                self._forget()
            tally = self._tallies[name] = Tally()
        tally.add(refused=refused, notional=notional)

    def top(self, most: int) -> list[tuple[str, Tally]]:
        """Those that were met most often, then by notional, then by name."""
        return sorted(
            self._tallies.items(), key=lambda each: (-each[1].count, -each[1].notional, each[0])
        )[:most]

    def _forget(self) -> None:
        kept = self.top(self._room // 2)
        self.missed += max(tally.count for _, tally in self.top(self._room)[self._room // 2 :])
        self._tallies = dict(kept)


@dataclass(slots=True)
class Slot:
    """What happened in one slot of time: decisions by code, and notional by outcome."""

    codes: dict[int, int] = field(default_factory=dict)
    accepted: Decimal = ZERO
    refused: Decimal = ZERO

    @property
    def count(self) -> int:
        """All decisions."""
        return sum(self.codes.values())

    def add(self, code: int, notional: Decimal) -> None:
        """Counts one decision."""
        self.codes[code] = self.codes.get(code, 0) + 1
        if code == 0:
            self.accepted = EXACT.add(self.accepted, notional)
        else:
            self.refused = EXACT.add(self.refused, notional)

    def merge(self, other: "Slot") -> None:
        """Takes over what the other counted."""
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        self.accepted = EXACT.add(self.accepted, other.accepted)
        self.refused = EXACT.add(self.refused, other.refused)


class Series:
    """Slots of time, as wide as they have to be so that there are few of them."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._step = 0

    @property
    def width_us(self) -> int:
        """How long a slot is, in microseconds."""
        return _WIDTHS[self._step]

    def add(self, time_us: int, code: int, notional: Decimal) -> None:
        """Counts one decision at a time since the Unix epoch."""
        place = time_us // self.width_us
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = Slot()
            while max(self._slots) - min(self._slots) >= _MAX_SLOTS:
                self._widen()
            slot = self._slots[time_us // self.width_us]
        slot.add(code, notional)

    def slots(self) -> Iterator[tuple[int, Slot]]:
        """Begin (microseconds since the Unix epoch) and content of every slot, empty ones too."""
        if self._slots:
            for place in range(min(self._slots), max(self._slots) + 1):
                yield place * self.width_us, self._slots.get(place) or Slot()

    def _widen(self) -> None:
        factor = _WIDTHS[self._step + 1] // _WIDTHS[self._step]
        self._step += 1
        wider: dict[int, Slot] = {}
        for place, slot in self._slots.items():
            wider.setdefault(place // factor, Slot()).merge(slot)
        self._slots = wider


class Latencies:
    """How long decisions took, in microseconds, each known to within 3.2 %."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.largest = 0

    def add(self, latency_us: int) -> None:
        """Counts one."""
        shift = max(latency_us.bit_length() - _KEPT_BITS, 0)
        place = (latency_us >> shift) << shift
        self._counts[place] = self._counts.get(place, 0) + 1
        self.count += 1
        self.largest = max(self.largest, latency_us)

    def percentile(self, percent: Decimal) -> int:
        """What `percent` of all take at most, 0 where there are none."""
        left = percent * self.count / 100
        for place, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(_end(place), self.largest)
        return self.largest

    def ranges(self) -> list[tuple[int, int, int]]:
        """From, below, and how many, in steps of 1, 2, 5, 10 and so on; none left out between."""
        edges = [0]
        for power in range(19):
            edges += [digit * 10**power for digit in (1, 2, 5)]
        found = [0] * len(edges)
        at = 0
        for place, count in sorted(self._counts.items()):
            while at + 1 < len(edges) and edges[at + 1] <= place:
                at += 1
            found[at] += count
        used = [index for index, count in enumerate(found) if count]
        if not used:
            return []
        return [
            (edges[index], edges[index + 1], found[index])
            for index in range(used[0], min(used[-1], len(edges) - 2) + 1)
        ]


def _end(place: int) -> int:
    """The largest latency that is counted at `place`."""
    return place + (1 << max(place.bit_length() - _KEPT_BITS, 0)) - 1


class Numbers:
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
        """Takes note of a line's number. Lines come in order, or nearly so."""
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
