"""The handler of CheckClaim alone, hot and in process, against that of the release before.

python -m bench.handler [--rounds N] [--calls N]

A program for each prints, on its last line, the µs of thread time a call takes: the decision,
its log line and its reply, without gRPC. Both are started anew in each round.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench import builds, table
from bench.bars import Fact

__all__ = ["compare", "main"]

_BOUND: Final = 0.3
_HERE: Final = Path(__file__).parent
_OURS: Final = _HERE / "handler_ours.py"
_BEFORE: Final = _HERE / "baselines" / "handler_before.py"

# What each is started with; the number of calls comes after it.
_PROGRAMS: Final[Mapping[str, Callable[[], list[str]]]] = {
    "ours": lambda: [str(_OURS)],
    "release before": lambda: [str(_BEFORE), str(builds.release())],
}


def compare(rounds: int = 5, calls: int = 3000) -> Fact:
    """The ratio of the medians; no figure when the release before cannot be had."""
    taken: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    ratio = None
    try:
        for _ in range(rounds):
            for name, program in _PROGRAMS.items():
                taken[name].append(_microseconds([*program(), str(calls)]))
    except builds.UnavailableError as error:
        print(f"Skipped: handler alone: {error}", file=sys.stderr)
    else:
        medians = {name: statistics.median(each) for name, each in taken.items()}
        ratio = medians["ours"] / medians["release before"]
        print(
            *(f"handler, {name}: {each:.1f} µs" for name, each in medians.items()),
            sep="\n",
            file=sys.stderr,
        )
    what = "handler alone, hot, thread time"
    return Fact(what, "release before", _BOUND, ratio, at_most=True)


def _microseconds(command: list[str]) -> float:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=builds.ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures, and prints the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    print(table.machine(), "", *table.bars([compare(**vars(parser.parse_args()))]), sep="\n")


if __name__ == "__main__":
    main()
