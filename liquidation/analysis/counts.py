"""Counters of names and latencies, of bounded size however much is counted."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from liquidation.rules.numbers import plain

__all__ = ["Counts", "LatencyCounts", "share", "shares"]

# Names that are counted at once.
_ROOM: Final = 100_000
_PERCENTILES: Final = {"p50": 50, "p90": 90, "p99": 99}
# Latencies that are told apart; with more, their first bits alone are kept.
_MAX_LATENCIES: Final = 50_000
_KEPT_BITS: Final = 6
_RELATIVE_ERROR: Final = "0.016"


class Counts:
    """How many lines, and how many of them refused, by name; of as many as there is room for.

    Where room is wanting, the names that were met least are forgotten and count as others.
    `may_lack` is then the most that the count of one name may lack, else 0.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._lines: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._all = [0, 0]
        self.may_lack = 0

    def add(self, name: str, lines: int, refused: int) -> None:
        """Counts lines of one name."""
        self._lines[name] += lines
        self._refused[name] += refused
        self._counted(lines, refused)

    def add_all(self, names: Sequence[str], refused: Sequence[str]) -> None:
        """Counts a line of each of `names`; `refused` has the names of those that are."""
        self._lines.update(names)
        self._refused.update(refused)
        self._counted(len(names), len(refused))

    def record(self, key: str, most: int) -> dict[str, Any]:
        """The `most` largest, and all others together; `distinct` is None where not known."""
        ranked = sorted(self._lines.items(), key=lambda each: (-each[1], each[0]))[:most]
        rows = [{key: name, **shares(count, self._refused[name])} for name, count in ranked]
        others = self._all[0] - sum(row["lines"] for row in rows)
        others_refused = self._all[1] - sum(row["refused"] for row in rows)
        return {
            "rows": rows,
            "others": shares(others, others_refused),
            "distinct": None if self.may_lack else len(self._lines),
            "may_lack": self.may_lack,
        }

    def _counted(self, lines: int, refused: int) -> None:
        self._all[0] += lines
        self._all[1] += refused
        if len(self._lines) > self._room:
            self._forget()

    def _forget(self) -> None:
        """Keeps at most half of the names: those with more lines than the least are."""
        count = kept = 0
        for count, names in sorted(Counter(self._lines.values()).items(), reverse=True):  # noqa: B007 - the last one is what is looked for
            kept += names
            if kept > self._room // 2:
                break
        self.may_lack += count
        self._lines = Counter({name: n for name, n in self._lines.items() if n > count})
        self._refused = Counter(
            {name: n for name, n in self._refused.items() if name in self._lines}
        )


class LatencyCounts:
    """How long calls took, in microseconds; to within 1.6 % where there are many of them."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._largest = 0
        self._exact = True

    def add_all(self, latencies_us: Sequence[int]) -> None:
        """Counts calls."""
        self._counts.update(latencies_us)
        self._largest = max(self._largest, *latencies_us, 0)
        if len(self._counts) > _MAX_LATENCIES:
            self._coarsen()

    def record(self) -> dict[str, Any]:
        """How many there are, percentiles, the largest, and how exact that is."""
        return {
            "count": self._counts.total(),
            **{name: self._percentile(percent) for name, percent in _PERCENTILES.items()},
            "max": self._largest,
            "relative_error": "0" if self._exact else _RELATIVE_ERROR,
        }

    def _percentile(self, percent: int) -> int:
        left = -(-percent * self._counts.total() // 100)
        for latency_us, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(latency_us, self._largest)
        return 0

    def _coarsen(self) -> None:
        """Keeps the first bits of each: where `_KEPT_BITS` are kept, the middle of the rest."""
        coarse: Counter[int] = Counter()
        for latency_us, count in self._counts.items():
            rest = max(latency_us.bit_length() - _KEPT_BITS, 0)
            coarse[latency_us >> rest << rest | (1 << rest) >> 1] += count
        self._counts = coarse
        self._exact = False


def share(part: int, whole: int) -> str:
    """How much of the whole a part is, with four decimals; "0" of nothing."""
    return plain(round(Decimal(part) / whole, 4)) if whole else "0"


def shares(lines: int, refused: int) -> dict[str, Any]:
    """How many lines, how many of them refused, and which share that is."""
    return {"lines": lines, "refused": refused, "refused_share": share(refused, lines)}
