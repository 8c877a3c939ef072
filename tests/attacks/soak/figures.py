"""Figures that are taken again and again: how they stood, how they grow, and what they may do."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final, NamedTuple

_HOUR_S: Final = 3600
# Points are compared that lie so far apart at least, as a share of the longest run of a process,
# and in seconds: closer together, noise counts for more than growth.
_APART: Final = 0.25
_APART_S: Final = 60
# Where a figure is shown, as shares of the run, and how much of the run around there counts.
_SHOWN: Final = {"start": 0.0, "quarter": 0.25, "half": 0.5, "end": 1.0}
_AROUND: Final = 0.03


class Point(NamedTuple):
    """What a figure was, so many seconds after the begin of the soak.

    `of` names a run of a process, and `age` counts from its begin; a figure that is of no process
    has "", and is as old as the soak.
    """

    at: float
    value: float
    of: str = ""
    age: float = float("inf")


@dataclass(frozen=True)
class Bound:
    """What a figure may do: grow by so much in an hour, and be so great at most."""

    per_hour: float | None = None
    most: float | None = None
    # From which age on growth counts: caches fill, the allocator settles, and first claims end.
    warm_up_s: float = 0


Figures = Mapping[str, Sequence[Point]]


def growth_per_hour(points: Iterable[Point], warm_up_s: float = 0) -> float | None:
    """The median slope between any two points of one process; None where there are too few.

    It is Theil and Sen's, over all runs of processes at once: what one run ends with says nothing
    of what the next begins with.
    """
    runs = defaultdict(list)
    for point in points:
        if point.age >= warm_up_s:
            runs[point.of].append(point)
    longest = max((run[-1].at - run[0].at for run in runs.values()), default=0)
    apart = max(_APART_S, longest * _APART)
    slopes = [
        (later.value - sooner.value) / (later.at - sooner.at)
        for run in runs.values()
        for index, sooner in enumerate(run)
        for later in run[index + 1 :]
        if later.at - sooner.at >= apart
    ]
    return median(slopes) * _HOUR_S if slopes else None


def at_equal_age(points: Iterable[Point], since_s: float, until_s: float) -> list[Point]:
    """One point for each run of a process: the median of what it had in a span of its age.

    What grows here grows from one run to the next, as with what is kept over restarts.
    """
    runs = defaultdict(list)
    for point in points:
        if since_s <= point.age <= until_s:
            runs[point.of].append(point)
    return [Point(run[0].at, median(point.value for point in run)) for run in runs.values()]


def broken(figures: Figures, bounds: Mapping[str, Bound]) -> Iterator[str]:
    """Each bound that a figure does not keep, in words."""
    for name, bound in bounds.items():
        if name not in figures:
            yield f"{name} was never taken"
        points = figures.get(name, ())
        if not points:
            continue
        greatest = max(point.value for point in points)
        if bound.most is not None and greatest > bound.most:
            yield f"{name} was {greatest:g}, and may be {bound.most:g} at most"
        grows = growth_per_hour(points, bound.warm_up_s)
        if bound.per_hour is not None and grows is not None and grows > bound.per_hour:
            yield f"{name} grows by {grows:.2f} an hour, and may by {bound.per_hour:g}"


def table(figures: Figures, bounds: Mapping[str, Bound]) -> str:
    """All figures: how they stood along the run, their growth, and what is allowed."""
    end = max((point.at for points in figures.values() for point in points), default=0)
    rows = [["figure", *_SHOWN, "most", "growth/h", "allowed/h", "at most"]]
    for name, points in figures.items():
        if not points:
            continue
        bound = bounds.get(name, Bound())
        shown = (_near(points, end * share, end * _AROUND) for share in _SHOWN.values())
        greatest = max(point.value for point in points)
        grows = growth_per_hour(points, bound.warm_up_s)
        told = (*shown, greatest, grows, bound.per_hour, bound.most)
        rows.append([name, *("-" if value is None else f"{value:.1f}" for value in told)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _near(points: Sequence[Point], at: float, around: float) -> float:
    """The mean of what was taken around a time, or nearest to it."""
    nearest = min(abs(point.at - at) for point in points)
    return fmean(point.value for point in points if abs(point.at - at) <= max(nearest, around))
