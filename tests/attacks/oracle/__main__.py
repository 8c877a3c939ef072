"""Asks a real server as many requests as told, and prints what was met."""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.attacks.oracle.asking import DisagreementError
from tests.attacks.oracle.run import Plan, run
from tests.attacks.plans import plan_of_arguments


def main() -> int:
    """Asks as told; the exit status is 1 where there was a disagreement, or a rule never met."""
    plan = plan_of_arguments(Plan, "oracle", __doc__, worlds=20, cases=500)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        try:
            tally = run(plan, Path(directory))
        except DisagreementError as found:
            print(found, file=sys.stderr)
            return 1
    seldom = [*tally.rules_never_met(), *tally.outcomes_never_met()]
    figures = {
        "requests": tally.cases,
        "by": dict(tally.ways),
        "claims begun or refused": tally.begins,
        "lines of the log": tally.lines,
        "worlds": tally.worlds,
        "most symbols": tally.symbols,
        "seconds": round(time.monotonic() - begun),
        "disagreements": 0,
        "never met": seldom,
        "answers by rule": dict(tally.rules.most_common()),
        "explained": tally.told_outcomes(),
    }
    print(json.dumps(figures, indent=2))
    return int(bool(seldom))


if __name__ == "__main__":
    sys.exit(main())
