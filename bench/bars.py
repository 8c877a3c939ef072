"""The bars, and the groups of cells that they are read from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.load import Shape
from bench.rounds import Cell, Measured

__all__ = ["BARS", "GROUPS", "QUICK", "Bar", "Fact"]

ONE: Final = Shape(1, 1)
SOME: Final = Shape(4, 16)
MANY: Final = Shape(8, 64)
# A batch is one call and a stream one too: a few keep the server busy.
FOUR: Final = Shape(4, 1)


@dataclass(frozen=True)
class Fact:
    """A figure and its bound; None is a figure that could not be taken here."""

    what: str
    against: str
    bound: float
    figure: float | None
    unit: str = "×"
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        if self.figure is None:
            return False
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound


@dataclass(frozen=True)
class Bar:
    """The bound of a ratio: what one cell does against another."""

    what: str
    cell: Cell
    against: Cell
    bound: float
    figure: str = "per_second"

    def read(self, measured: Measured) -> Fact:
        """The ratio of the medians of both cells; for a latency the bound is the most."""
        ratio = measured.ratio(self.cell, self.against, self.figure)
        at_most = self.figure.endswith("_us")
        return Fact(self.what, self.against.server, self.bound, ratio, at_most=at_most)


def _cell(server: str, scenario: str, shape: Shape = SOME) -> Cell:
    return Cell(server, scenario, shape)


def _group(
    scenario: str, shape: Shape, baseline: str, *servers: str, more: tuple[Cell, ...] = ()
) -> tuple[Cell, ...]:
    """The baseline, the servers, and the baseline once more.

    How far the last is from the first shows how far any other ratio can be trusted.
    """
    first = _cell(baseline, scenario, shape)
    others = (_cell(server, scenario, shape) for server in servers)
    return first, *others, *more, Cell(baseline, scenario, shape, again=True)


_BEFORE: Final = "release before"
_BY_ONE: Final = "one commit a claim"
_BASELINES: Final = ("ours", _BEFORE, "Go", "Cerbos")

GROUPS: Final[Mapping[str, tuple[Cell, ...]]] = {
    "accepted 4×16": _group("accepted", SOME, "empty", *_BASELINES),
    "refused 4×16": _group("refused", SOME, "empty", *_BASELINES),
    "accepted 8×64": _group("accepted", MANY, "empty", *_BASELINES),
    "accepted 1×1": _group("accepted", ONE, "empty", *_BASELINES),
    "explained": _group("explained", SOME, _BEFORE, "ours"),
    "batch of 100": _group("batch of 100", FOUR, _BEFORE, "ours"),
    "batch of 1000": _group("batch of 1000", FOUR, _BEFORE, "ours"),
    "streams": _group(
        *("stream of 128", FOUR, _BEFORE, "ours"),
        more=(_cell("empty", "accepted"), _cell("ours", "accepted")),
    ),
    "accepted on PostgreSQL": _group(
        "accepted", SOME, f"{_BEFORE}, PostgreSQL", "ours, PostgreSQL", "ours"
    ),
    # Claims come last: once their leases expire, a server has them to end beside the calls.
    "claims 1×1": _group("begin", ONE, _BY_ONE, "ours", _BEFORE),
    # The empty handler takes the same messages from the same client.
    "claims 4×16": _group("begin", SOME, "empty", "ours", _BEFORE, _BY_ONE),
    "claims on PostgreSQL 4×16": _group(
        *("begin", SOME, f"{_BEFORE}, PostgreSQL"),
        *("ours, PostgreSQL", f"{_BY_ONE}, PostgreSQL", "ours, standby", "ours"),
    ),
    "claims on PostgreSQL 1×1": _group(
        "begin", ONE, f"{_BEFORE}, PostgreSQL", "ours, PostgreSQL", "ours, standby", "ours"
    ),
}
QUICK: Final = ("accepted 4×16", "refused 4×16", "accepted 8×64", "accepted 1×1", "claims 4×16")
# Servers that a quick run leaves out: they are built or downloaded first.
SLOW_TO_BUILD: Final = ("Go", "Cerbos")


def _bar(
    what: str, scenario: str, against: str, bound: float, shape: Shape = SOME, figure: str = ""
) -> Bar:
    cell, baseline = _cell("ours", scenario, shape), _cell(against, scenario, shape)
    return Bar(what, cell, baseline, bound, figure or "per_second")


_STREAM: Final = "four streams of 128, decisions/s"
BARS: Final = (
    _bar("CheckClaim accepted, 4×16", "accepted", "empty", 2),
    _bar("CheckClaim accepted, 8×64", "accepted", "empty", 2, MANY),
    _bar("CheckClaim refused with all details, 4×16", "refused", "empty", 1.7),
    _bar("CheckClaim accepted, 1×1, p50", "accepted", "empty", 0.8, ONE, "p50_us"),
    _bar("CheckClaim accepted, 4×16", "accepted", _BEFORE, 4),
    _bar("CheckClaim accepted, 4×16", "accepted", "Go", 0.8),
    _bar("CheckClaim accepted, 4×16", "accepted", "Cerbos", 3),
    _bar("batch of 100, decisions/s", "batch of 100", _BEFORE, 3, FOUR),
    _bar("batch of 1000, decisions/s", "batch of 1000", _BEFORE, 3, FOUR),
    Bar(_STREAM, _cell("ours", "stream of 128", FOUR), _cell("empty", "accepted"), 3),
    _bar(_STREAM, "stream of 128", _BEFORE, 4, FOUR),
    _bar("BeginClaim, 64 in flight", "begin", "empty", 0.8),
    _bar("BeginClaim, 64 in flight", "begin", _BEFORE, 3),
    _bar("BeginClaim, 1×1, p50", "begin", _BY_ONE, 1.1, ONE, "p50_us"),
    Bar(
        "BeginClaim on PostgreSQL, 64 in flight",
        _cell("ours, PostgreSQL", "begin"),
        _cell(f"{_BEFORE}, PostgreSQL", "begin"),
        2,
    ),
    _bar("CheckClaim explained, 4×16", "explained", _BEFORE, 3),
)
