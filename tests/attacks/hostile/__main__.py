"""All attacks in full, on a server of its own each: `python -m tests.attacks.hostile`."""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from tests.attacks.hostile.attacks import ATTACKS
from tests.attacks.hostile.server import serving_under_attack
from tests.attacks.hostile.siege import Plan, Seen, besiege

_HEAD = (
    f"{'attack':22} {'before':>7} {'peak':>7} {'after':>7} {'allowed':>8} {'files':>9}"
    f" {'p99 quiet':>10} {'busy':>9} {'attacked':>10} {'ratio':>7}  what the attacker got"
)


def main() -> int:
    """Besieges as told; the exit status is 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.hostile", description=__doc__)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="a part of its name")
    for each in fields(Plan):
        parser.add_argument(
            f"--{each.name.replace('_', '-')}", type=each.type, default=each.default
        )
    told = vars(parser.parse_args())
    names = told.pop("attacks")
    broken = 0
    print(_HEAD, flush=True)
    for attack in ATTACKS:
        if names and not any(each in attack.name for each in names):
            continue
        with (
            tempfile.TemporaryDirectory() as directory,
            serving_under_attack(Path(directory)) as process,
        ):
            seen = asyncio.run(besiege(process, attack, Plan(**told)))
            alive = process.popen.poll() is None
        print(_row(seen), flush=True)
        for promise in [*seen.broken(), *([] if alive else ["the server is gone"])]:
            print(f"  BROKEN {promise}", flush=True)
            broken += 1
    return int(broken > 0)


def _row(seen: Seen) -> str:
    got = ", ".join(f"{count} × {what}" for what, count in seen.got.most_common(4))
    return (
        f"{seen.attack.name:22} {seen.before:7.0f} {seen.peak:7.0f} {seen.after:7.0f}"
        f" {seen.attack.grows_mib:+8} {seen.files[0]:4}-{seen.files[1]:<4}"
        f" {seen.quiet * 1000:7.2f} ms {seen.busy * 1000:6.2f} ms {seen.attacked * 1000:7.2f} ms"
        f" {seen.ratio:7.2f}  {got}"
    )


if __name__ == "__main__":
    sys.exit(main())
