"""Resident memory of a worker: at rest, and what a million calls add to it."""

import os
import sys
from pathlib import Path
from typing import Final

from bench.bars import Fact
from bench.clients import load
from bench.contestants import running
from bench.h2load import Shape
from bench.processes import resident_mib
from bench.scenarios import SCENARIOS, put_stored

__all__ = ["CALLS", "at_rest", "growth"]

CALLS: Final = 1_000_000
# The log is emptied after each: a line is about 1 KB.
PART: Final = 100_000
AT_REST_MIB: Final = 80
# What the allocator takes and gives back from one part to the next; a leak of 3 bytes a call shows.
NOISE_MIB: Final = 2


def at_rest(directory: Path) -> Fact:
    """Of a worker that has started and taken no call."""
    with running("ours", directory) as server:
        resident = resident_mib(server.pid)
    return Fact("resident, one worker at rest", "", AT_REST_MIB, resident, "MiB", at_most=True)


def growth(directory: Path, calls: int = CALLS, part: int = PART) -> Fact:
    """What accepted and refused calls in turn add, counted after one part of each."""
    with running("ours", directory) as server:
        put_stored(server.address)

        def make(number: int) -> float:
            scenario = SCENARIOS["refused" if number % 2 else "accepted"]
            load(server.address, scenario, Shape(4, 16), part, directory, by_load=False)
            # The server appends, so the file grows from its new end.
            os.truncate(server.log, 0)
            return resident_mib(server.pid)

        before = [make(number) for number in range(2)][-1]
        after = before
        for number in range(calls // part):
            after = make(number)
            print(f"{(number + 1) * part} calls: {after - before:+.2f} MiB", file=sys.stderr)
    return Fact(
        f"growth over {calls:,} calls, accepted and refused",
        f"resident after the first {2 * part:,}",
        NOISE_MIB,
        after - before,
        "MiB",
        at_most=True,
    )
