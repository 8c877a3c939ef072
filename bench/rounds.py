"""Interleaved rounds of calls, and their medians."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.load import Shape, load
from bench.processes import usage
from bench.scenarios import Scenario
from bench.servers import SERVERS, Running

__all__ = ["Cell", "Group", "Measured", "Round", "measure"]

# A round before the first warms the server up and shows how fast calls go.
_FIRST_CALLS: Final = 256


@dataclass(frozen=True)
class Cell:
    """One server, what it is called with, and in which shape; `again` is a second measurement."""

    server: str
    scenario: str
    shape: Shape
    again: bool = False

    @property
    def label(self) -> str:
        """The server's name in a table."""
        return self.server + " again" * self.again

    @property
    def calls(self) -> Scenario:
        """The scenario as this server takes it."""
        return SERVERS[self.server].scenarios[self.scenario]


@dataclass(frozen=True)
class Round:
    """The result of a round; all but the latencies (µs, of calls) are of decisions."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    switches: float


@dataclass(frozen=True)
class Group:
    """The rounds of cells that were interleaved; only such cells are compared."""

    rounds: dict[Cell, list[Round]] = field(default_factory=dict)

    def median(self, cell: Cell, figure: str) -> float:
        figures: list[float] = [getattr(each, figure) for each in self.rounds[cell]]
        return statistics.median(figures)

    def ratio(self, cell: Cell, against: Cell, figure: str) -> float:
        return self.median(cell, figure) / (self.median(against, figure) or float("nan"))


@dataclass(frozen=True)
class Measured:
    """All groups of a run, and how many decisions of which code each server was asked for."""

    groups: list[Group] = field(default_factory=list)
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)

    def ratio(self, cell: Cell, against: Cell, figure: str) -> float | None:
        """Of the first group that holds both; None when there is none."""
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
    """Rounds of about `seconds` for each of these cells; each comes first equally often."""
    calls = {}
    for cell in cells:
        first = max(_FIRST_CALLS // cell.calls.decisions, _in_flight(cell))
        done = _round(measured, servers[cell.server], cell, first, directory)
        for_time = int(done.per_second / cell.calls.decisions * seconds)
        calls[cell] = max(for_time, 2 * _in_flight(cell))
    group = Group({cell: [] for cell in cells})
    for number in range(rounds):
        at = number % len(cells)
        for cell in (*cells[at:], *cells[:at]):
            done = _round(measured, servers[cell.server], cell, calls[cell], directory)
            group.rounds[cell].append(done)
    measured.groups.append(group)


def _in_flight(cell: Cell) -> int:
    return cell.shape.total * max(cell.calls.window, 1)


def _round(measured: Measured, server: Running, cell: Cell, calls: int, directory: Path) -> Round:
    scenario = cell.calls
    before = usage(server.pid)
    done = load(server.address, scenario, cell.shape, calls, directory)
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
