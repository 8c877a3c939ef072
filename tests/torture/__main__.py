"""Runs a torture from the command line and prints its figures."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.torture.history import violations
from tests.torture.run import Plan, torture


def main() -> int:
    """Tortures as told; the exit status is 1 where a promise was broken (or, in control, none)."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    for name, default in vars(Plan()).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=int, default=default)
    plan = Plan(**vars(parser.parse_args()))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        seen, history = asyncio.run(torture(plan, Path(directory)))
    found = list(violations(history))
    codes = Counter(str(each.code) for each in seen.begins)
    codes.update(str(each.code) for each in seen.changes)
    figures = {
        "operations": seen.operations,
        "kills": seen.kills,
        "full_stops": seen.full_stops,
        "granted": len(history.found),
        "answers": dict(codes.most_common()),
        "seconds": round(time.monotonic() - begun),
        "violations": Counter(each.split(":")[0] for each in found),
    }
    print(json.dumps(figures, indent=2))
    for each in found[:20]:
        print(each, file=sys.stderr)
    return int(bool(found) is not plan.drop_index)


if __name__ == "__main__":
    sys.exit(main())
