"""Asks a real server as many requests as told, and prints what was met."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.attacks.oracle.asking import DisagreementError
from tests.attacks.oracle.run import Plan, run


def main() -> int:
    """Asks as told; the exit status is 1 where there was a disagreement, or a rule never met."""
    plan = _plan()
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


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.oracle", description=__doc__)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--cases", type=int, default=500, help="requests in each world")
    parser.add_argument("--seed", type=int, default=0)
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
