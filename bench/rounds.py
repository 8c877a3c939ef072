"""Rounds of calls that contestants take in turn, and the medians of them."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.clients import load
from bench.contestants import Running
from bench.h2load import Shape
from bench.processes import usage
from bench.scenarios import SCENARIOS

__all__ = ["Cell", "Group", "Measured", "Round", "measure"]

# A round before the first opens what is opened once and tells how fast calls go.
_FIRST_CALLS: Final = 256


@dataclass(frozen=True)
class Cell:
    """What one contestant is called with, in which shape; `again` tells two of the same apart."""

    contestant: str
    scenario: str
    shape: Shape
    by_load: bool = False
    again: bool = False

    @property
    def told(self) -> str:
        return self.contestant + " again" * self.again + " *" * self.by_load


@dataclass(frozen=True)
class Round:
    """What a round came to; all but the latencies (µs, of calls) are of decisions."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    switches: float


@dataclass(frozen=True)
class Group:
    """The rounds of cells that took turns; only what took turns is compared."""

    rounds: dict[Cell, list[Round]] = field(default_factory=dict)

    def median(self, cell: Cell, figure: str) -> float:
        figures: list[float] = [getattr(each, figure) for each in self.rounds[cell]]
        return statistics.median(figures)

    def ratio(self, cell: Cell, against: Cell, figure: str) -> float:
        return self.median(cell, figure) / (self.median(against, figure) or float("nan"))


@dataclass(frozen=True)
class Measured:
    """All groups of a run, and how many decisions of which code each contestant was asked for."""

    groups: list[Group] = field(default_factory=list)
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)

    def ratio(self, cell: Cell, against: Cell, figure: str) -> float | None:
        """Of the first group that holds both; None where they did not take turns."""
        for group in self.groups:
            if {cell, against} <= group.rounds.keys():
                return group.ratio(cell, against, figure)
        return None


def measure(
    measured: Measured,
    servers: Mapping[str, Running],
    cells: Sequence[Cell],
    rounds: int,
    seconds: float,
    directory: Path,
) -> None:
    """Rounds of about `seconds` for each of these cells, each first equally often."""
    calls = {}
    for cell in cells:
        first = _round(measured, servers[cell.contestant], cell, _first_calls(cell), directory)
        decisions = SCENARIOS[cell.scenario].decisions
        in_flight = cell.shape.connections * cell.shape.streams
        calls[cell] = max(int(first.per_second / decisions * seconds), 2 * in_flight)
    group = Group({cell: [] for cell in cells})
    for number in range(rounds):
        at = number % len(cells)
        for cell in (*cells[at:], *cells[:at]):
            done = _round(measured, servers[cell.contestant], cell, calls[cell], directory)
            group.rounds[cell].append(done)
    measured.groups.append(group)


def _first_calls(cell: Cell) -> int:
    decisions = SCENARIOS[cell.scenario].decisions
    return max(_FIRST_CALLS // decisions, 2 * cell.shape.connections * cell.shape.streams)


def _round(measured: Measured, server: Running, cell: Cell, calls: int, directory: Path) -> Round:
    scenario = SCENARIOS[cell.scenario]
    before = usage(server.pid)
    done = load(server.address, scenario, cell.shape, calls, directory, by_load=cell.by_load)
    used = usage(server.pid).since(before)
    decisions = calls * scenario.decisions
    measured.asked[server.name, scenario.code] += decisions
    return Round(
        per_second=done.per_second * scenario.decisions,
        p50_us=done.p50_us,
        p99_us=done.p99_us,
        cpu_us=used.cpu_s / decisions * 1e6,
        switches=used.switches / decisions,
    )
