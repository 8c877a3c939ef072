"""Resident memory of a worker: at rest, and how much a million calls add.

python -m bench.memory [--calls N]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench import table
from bench.bars import SOME, Fact
from bench.load import load
from bench.processes import resident_mib
from bench.scenarios import SCENARIOS
from bench.servers import running

__all__ = ["at_rest", "growth", "main"]

CALLS: Final = 1_000_000
# The log is emptied after each part: a line is about 1 KB.
PART: Final = 100_000
AT_REST_MIB: Final = 60
# What the allocator takes and gives back from one part to the next; a leak of 3 bytes a call shows.
GROWTH_MIB: Final = 2


def at_rest(directory: Path) -> Fact:
    """Of a worker that has started and holds one liquidation."""
    directory.mkdir(exist_ok=True)
    with running("ours", directory) as server:
        resident = resident_mib(server.pid)
    return Fact("resident, one worker at rest", "", AT_REST_MIB, resident, "MiB", at_most=True)


def growth(directory: Path, calls: int = CALLS, part: int = PART) -> Fact:
    """How much accepted and refused calls in turn add, from after one part of each."""
    directory.mkdir(exist_ok=True)
    with running("ours", directory) as server:

        def make(number: int) -> float:
            scenario = SCENARIOS["refused" if number % 2 else "accepted"]
            load(server.address, scenario, SOME, part, directory)
            # The server appends, so the file grows from its new end.
            os.truncate(server.log, 0)
            return resident_mib(server.pid)

        before = [make(number) for number in range(2)][-1]
        after = before
        for number in range(calls // part):
            after = make(number)
            print(f"{(number + 1) * part} calls: {after - before:+.2f} MiB", file=sys.stderr)
    what = f"growth over {calls:,} calls, accepted and refused"
    against = f"resident after the first {2 * part:,}"
    return Fact(what, against, GROWTH_MIB, after - before, "MiB", at_most=True)


def main() -> None:
    """Measures, and prints both bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=CALLS)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as name:
        facts = [at_rest(Path(name, "rest")), growth(Path(name, "growth"), calls)]
    print(table.machine(), "", *table.bars(facts), sep="\n")


if __name__ == "__main__":
    main()
