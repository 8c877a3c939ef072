"""Sends the same calls to two releases, or to one and a recording, and prints what is different."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from tests.attacks.differential.before import before_release
from tests.attacks.differential.drawing.stages import drawn_stages
from tests.attacks.differential.recording import read, record, replay
from tests.attacks.differential.run import Report, compare
from tests.attacks.differential.sidecar import Release
from tests.attacks.differential.stores import store_of

_HERE = Path(__file__).parents[3]


def main() -> int:
    """Runs as told; the exit status is 1 where there is a difference."""
    asked = _arguments()
    begun = time.monotonic()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(store_of(asked.store))
        flags = ("--transport", asked.transport) if asked.transport else ()
        after = Release(asked.after, flags)
        if asked.replay:
            report = asyncio.run(replay(read(asked.replay), after, store, directory))
        else:
            stages = drawn_stages(asked.seed, asked.requests)
            before = Release(asked.before or before_release(_HERE, directory / "before"))
            if asked.record:
                recorded = asyncio.run(record(stages, before, store, directory))
                asked.record.write_bytes(recorded)
                return 0
            mutate = Random(asked.mutate) if asked.mutate is not None else None
            report = compare(stages, (before, after), store, directory, mutate)
    return _tell(report, time.monotonic() - begun, asked.show)


def _tell(report: Report, seconds: float, show: int) -> int:
    for found in report.found[:show]:
        print(found, end="\n\n", file=sys.stderr)
    figures = {
        "requests": report.requests,
        "calls": report.calls,
        "log lines": report.lines,
        "seconds": round(seconds, 1),
        "requests a second": round(report.requests / seconds),
        "different": len(report.found),
        "log lines by code and rule": dict(sorted(report.codes.items())),
    }
    print(json.dumps(figures, indent=2))
    return int(bool(report.found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks.differential", description=__doc__
    )
    add = parser.add_argument
    add("--before", type=Path, help="folder of the release before (default: from the repository)")
    add("--after", type=Path, default=_HERE, help="folder of the other release (default: this)")
    add("--requests", type=int, default=5000, help="about how many are drawn (default: 5000)")
    add("--seed", type=int, default=0)
    add("--store", choices=("sqlite", "postgres"), default="sqlite")
    add("--transport", help="value of --transport for the other release")
    add("--record", type=Path, help="write the calls with the answers of the release before")
    add("--replay", type=Path, help="compare the other release with a recording")
    add("--mutate", type=int, metavar="SEED", help="change one thing in its answers or lines")
    add("--show", type=int, default=10, help="how many differences are shown (default: 10)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
