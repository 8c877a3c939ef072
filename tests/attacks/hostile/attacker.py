"""An attacker as a process: `python -m tests.attacks.hostile.attacker NAME ADDRESS MANY`.

It attacks again and again until its standard input is closed, and then prints what it got. It takes
only the processor's time that nobody else wants: what is measured is what its requests cost the
server, not what it costs to make them.
"""

import asyncio
import json
import os
import resource
import sys

from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.attacks import ATTACKS

__all__: list[str] = []


async def _attack(name: str, address: str, many: int) -> Got:
    attack = next(each for each in ATTACKS if each.name == name)
    effort = Effort(many)
    told = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    told.add_done_callback(lambda _: effort.enough.set())
    got = Got()
    while not effort.enough.is_set():
        got += await attack.run(address, effort)
        got["times"] += 1
    return got


def main() -> None:
    """Attacks as told."""
    os.nice(19)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    name, address, many = sys.argv[1:]
    print(json.dumps(asyncio.run(_attack(name, address, int(many)))))


if __name__ == "__main__":
    main()
