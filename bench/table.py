"""The figures of a run as Markdown and as JSON."""

import os
import platform
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.bars import Fact
from bench.rounds import Cell, Group, Measured

__all__ = ["as_json", "bars", "groups", "head", "machine", "row"]

# Each with the digits that are shown of it.
_FIGURES: Final = {"per_second": 0, "p50_us": 0, "p99_us": 0, "cpu_us": 0, "switches": 2}


def row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return f"| {' | '.join(str(each) for each in cells)} |"


def head(*names: str) -> list[str]:
    """The head of a table."""
    return [row(names), "|" + "---|" * len(names)]


def machine() -> str:
    """When and on what the figures were taken."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"{os.cpu_count()} cores ({names[0] if names else platform.machine()})",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{each} {version(each)}" for each in ("grpcio", "uvloop", "protobuf")),
        f"SQLite {sqlite3.sqlite_version}",
    ]
    return ", ".join(parts)


def bars(facts: Iterable[Fact]) -> list[str]:
    """The bars, and whether they are met."""
    lines = head("what", "against", "bar", "figure", "")
    for fact in facts:
        bound = f"{'≤' if fact.at_most else '≥'} {fact.bound:g} {fact.unit}"
        met = "met" if fact.is_met else "not met"
        figure = f"{fact.figure:.2f} {fact.unit}" if fact.figure is not None else ""
        lines.append(row((fact.what, fact.against, bound, figure, met if figure else "not taken")))
    return lines


def groups(measured: Measured) -> list[str]:
    """Every cell that was measured; in brackets its ratio to the first of its group."""
    lines = head(
        *("what", "shape", "server", "decisions/s", "p50 µs", "p99 µs", "CPU µs", "switches")
    )
    for group in measured.groups:
        first, *others = group.rounds
        lines.append(_cell(group, first, None))
        lines += [_cell(group, cell, first) for cell in others]
    return lines


def _cell(group: Group, cell: Cell, against: Cell | None) -> str:
    figures = []
    for name, digits in _FIGURES.items():
        ratio = f" ({group.ratio(cell, against, name):.2f} ×)" if against else ""
        figures.append(f"{group.median(cell, name):.{digits}f}{ratio}")
    return row((cell.scenario, cell.shape, cell.label, *figures))


def as_json(measured: Measured, facts: Iterable[Fact]) -> dict[str, Any]:
    """The bars, and all rounds of all cells."""
    return {
        "machine": machine(),
        "bars": [{**vars(fact), "is_met": fact.is_met} for fact in facts],
        "cells": [
            {
                "scenario": cell.scenario,
                "shape": str(cell.shape),
                "server": cell.label,
                "rounds": [vars(each) for each in rounds],
            }
            for group in measured.groups
            for cell, rounds in group.rounds.items()
        ],
    }
