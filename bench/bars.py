"""The bars that calls have to reach, and the cells that they are read from."""

from dataclasses import dataclass
from typing import Final

from bench.h2load import Shape
from bench.rounds import Cell, Measured

__all__ = ["BARS", "FULL", "QUICK", "Bar", "Fact"]

ONE: Final = Shape(1, 1)
SOME: Final = Shape(4, 16)
MANY: Final = Shape(8, 64)
SIXTY_FOUR: Final = Shape(8, 8)
STREAMS: Final = Shape(4, 1)
# A batch is one call: a few are enough to keep the server busy.
BATCHES: Final = Shape(4, 1)


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
    """A figure of one cell against the same of another, and the bound of their ratio."""

    what: str
    against: str
    cell: Cell
    baseline: Cell
    bound: float
    figure: str = "per_second"
    at_most: bool = False

    def read(self, measured: Measured) -> Fact:
        """The ratio of the medians of both cells."""
        ratio = measured.ratio(self.cell, self.baseline, self.figure)
        return Fact(self.what, self.against, self.bound, ratio, at_most=self.at_most)


def _empty(shape: Shape) -> Cell:
    return Cell("empty", "accepted", shape)


def _ours(scenario: str, shape: Shape, *, by_load: bool = False) -> Cell:
    return Cell("ours", scenario, shape, by_load)


_BEGIN: Final = _ours("begin", SIXTY_FOUR, by_load=True)
_BEGIN_ONE: Final = _ours("begin", ONE, by_load=True)
_BY_ONE: Final = Cell("one commit a claim", "begin", SIXTY_FOUR, by_load=True)
_BY_ONE_ONE: Final = Cell("one commit a claim", "begin", ONE, by_load=True)
_UNARY: Final = _ours("accepted", SOME)
_UNARY_LOAD: Final = _ours("accepted", SOME, by_load=True)
_UNARY_64: Final = _ours("accepted", SIXTY_FOUR, by_load=True)
_UNARY_ONE: Final = _ours("accepted", ONE, by_load=True)
_STREAM: Final = _ours("stream of 128", STREAMS, by_load=True)
_PING: Final = _ours("stream, ping-pong", ONE, by_load=True)
_TWO: Final = Cell("ours, two workers", "accepted", SOME)
_NAIVE: Final = Cell("naive", "accepted", SOME)
_EMPTY_REFUSED: Final = Cell("empty", "refused", SOME)

_HANDLER: Final = "empty grpc.aio + uvloop handler"
BARS: Final = (
    Bar("CheckClaim accepted, 4×16", _HANDLER, _UNARY, _empty(SOME), 0.85),
    Bar("CheckClaim accepted, 8×64", _HANDLER, _ours("accepted", MANY), _empty(MANY), 0.85),
    Bar(
        "CheckClaim refused with details, 4×16",
        _HANDLER,
        _ours("refused", SOME),
        _EMPTY_REFUSED,
        0.8,
    ),
    Bar(
        *("CheckClaim accepted, 1×1, p50", _HANDLER, _ours("accepted", ONE), _empty(ONE)),
        *(1.15, "p50_us", True),
    ),
    Bar("CheckClaim accepted, 4×16", "naive build", _UNARY, _NAIVE, 1.4),
    Bar("four streams of 128, decisions/s", "unary, 4×16", _STREAM, _UNARY_LOAD, 3),
    Bar("stream, ping-pong, p50", "unary, 1×1", _PING, _UNARY_ONE, 0.5, "p50_us", at_most=True),
    Bar("batch of 100, decisions/s", "unary, 4×16", _ours("batch of 100", BATCHES), _UNARY, 15),
    Bar("batch of 1000, decisions/s", "unary, 4×16", _ours("batch of 1000", BATCHES), _UNARY, 20),
    Bar("two workers, accepted, 4×16", "one", _TWO, _UNARY, 1.25),
    Bar("BeginClaim, 64 in flight", "one commit a claim", _BEGIN, _BY_ONE, 2.2),
    Bar("BeginClaim, 64 in flight", "CheckClaim accepted, 64 in flight", _BEGIN, _UNARY_64, 0.7),
    Bar(
        *("BeginClaim, 1×1, p50", "one commit a claim", _BEGIN_ONE, _BY_ONE_ONE, 1.1),
        *("p50_us", True),
    ),
)


def _again(cell: Cell) -> Cell:
    return Cell(cell.contestant, cell.scenario, cell.shape, cell.by_load, again=True)


# Cells that take turns; the first of each is what the others of its group are compared with, and
# the last is the first once more: how far it is from 1 is how far any other ratio can be trusted.
QUICK: Final[tuple[tuple[Cell, ...], ...]] = (
    (
        _empty(SOME),
        *(_UNARY, _TWO, _NAIVE),
        *(_ours("batch of 100", BATCHES), _ours("batch of 1000", BATCHES)),
        _again(_empty(SOME)),
    ),
    (_EMPTY_REFUSED, _ours("refused", SOME), _again(_EMPTY_REFUSED)),
    (_empty(MANY), _ours("accepted", MANY), _again(_empty(MANY))),
    (_empty(ONE), _ours("accepted", ONE), _again(_empty(ONE))),
    (_UNARY_LOAD, _STREAM, _again(_UNARY_LOAD)),
    (_UNARY_ONE, _PING, _again(_UNARY_ONE)),
    (_BY_ONE, _BEGIN, _UNARY_64, _again(_BY_ONE)),
    (_BY_ONE_ONE, _BEGIN_ONE, _again(_BY_ONE_ONE)),
)


def _against_empty(scenario: str, shape: Shape) -> tuple[Cell, ...]:
    empty = Cell("empty", scenario, shape)
    return empty, _ours(scenario, shape), _again(empty)


# Claims come last: once their leases run out, the server has them to end beside the calls.
_CLAIMS: Final = 2
FULL: Final[tuple[tuple[Cell, ...], ...]] = (
    *QUICK[:-_CLAIMS],
    (
        _empty(SOME),
        *(Cell(name, "accepted", SOME) for name in ("empty, threads", "empty, C++")),
        *(Cell(name, "accepted", SOME) for name in ("empty, unix", "ours, unix")),
        _again(_empty(SOME)),
    ),
    (
        _empty(ONE),
        *(Cell(name, "accepted", ONE) for name in ("empty, threads", "empty, C++", "naive")),
        *(Cell(name, "accepted", ONE) for name in ("empty, unix", "ours, unix")),
        _again(_empty(ONE)),
    ),
    *(
        _against_empty(scenario, SOME)
        for scenario in (
            *("accepted, explained", "accepted, snapshot", "accepted, snapshot, explained"),
            "refused, explained",
        )
    ),
    _against_empty("refused", ONE),
    _against_empty("refused", MANY),
    (_ours("refused", SOME), Cell("naive", "refused", SOME), _again(_ours("refused", SOME))),
    (
        _UNARY,
        *(_ours(f"batch of {size}", BATCHES) for size in (1, 10, 100, 1000)),
        _again(_UNARY),
    ),
    (
        _ours("accepted", MANY),
        Cell("ours, two workers", "accepted", MANY),
        _again(_ours("accepted", MANY)),
    ),
    *QUICK[-_CLAIMS:],
    (_BEGIN, Cell("naive", "begin", SIXTY_FOUR, by_load=True), _again(_BEGIN)),
)
