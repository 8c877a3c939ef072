"""Runs a soak from the command line and prints its figures."""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.attacks.plans import plan_of_arguments
from tests.attacks.soak.figures import table
from tests.attacks.soak.run import Plan, bounds_of, soak


def main() -> int:
    """Soaks as told; the exit status is 1 where a bound was broken or an answer was wrong."""
    plan = plan_of_arguments(Plan, "soak", __doc__)
    with tempfile.TemporaryDirectory() as directory:
        report = asyncio.run(soak(plan, Path(directory)))
    tally = report.tally
    facts = {
        "seconds": plan.seconds,
        "answers": tally.calls,
        "answers by code": dict(tally.codes.most_common()),
        "unanswered, cut off by their callers included": tally.unanswered.total(),
        "lines of the log": tally.lines.total(),
        "restarts": dict(Counter(report.restarts)),
        "log rotations": report.rotations,
        "reloads": report.reloads,
    }
    print(json.dumps(facts, indent=2))
    print(table(report.figures, bounds_of(plan)))
    for problem in report.problems:
        print(problem, file=sys.stderr)
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
