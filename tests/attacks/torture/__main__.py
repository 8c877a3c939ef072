"""Runs a torture from the command line and prints its figures."""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attacks.plans import plan_of_arguments
from tests.attacks.torture.history import violations
from tests.attacks.torture.run import Plan, torture


def main() -> int:
    """Tortures as told; the exit status is 1 where a promise was broken (or, in control, none)."""
    plan = plan_of_arguments(Plan, "torture", __doc__)
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


if __name__ == "__main__":
    sys.exit(main())
