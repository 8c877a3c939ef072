"""Runs a torture from the command line and prints its figures."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attacks.torture.engines import ENGINES
from tests.attacks.torture.history import violations
from tests.attacks.torture.run import Plan, torture


def main() -> int:
    """Tortures as told; the exit status is 1 where a promise was broken (or, in control, none)."""
    plan = _plan()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        seen, deaths, history = asyncio.run(torture(plan, Path(directory)))
    found = list(violations(history))
    figures = {
        "engine": plan.engine,
        "operations": seen.operations,
        **vars(deaths),
        "granted": len(history.found),
        "answers": dict(Counter(each.how for each in seen.endings).most_common()),
        "seconds": round(time.monotonic() - begun),
        "violations": Counter(each.split(":")[0] for each in found),
    }
    print(json.dumps(figures, indent=2))
    for each in found[:20]:
        print(each, file=sys.stderr)
    if plan.drop_index:
        return int(not any(each.startswith("two at once") for each in found))
    return int(bool(found))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.torture", description=__doc__)
    for name, default in vars(Plan()).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, int):
            parser.add_argument(flag, type=int, default=default)
        else:
            parser.add_argument(flag, choices=ENGINES, default=default)
    try:
        return Plan(**vars(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
