"""Fuzzes: `python -m tests.attacks.fuzz --seconds 600`, or one input once more."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.attacks.fuzz.run import HEAD, keep, run
from tests.attacks.fuzz.target import TARGETS, target_of

_FOUND = Path("build") / "fuzz"


def main() -> int:
    """Does as told; the exit status is 1 where something was found."""
    told = _told()
    names = told.targets or TARGETS
    if told.look:
        return _look(names[0], told.look)
    found = 0
    print(HEAD, flush=True)
    for name in names:
        place = _FOUND / name
        shutil.rmtree(place, ignore_errors=True)
        figures = run(name, told.seconds, told.seed, place)
        print(figures.row(), flush=True)
        for each in figures.findings:
            print(f"  {each}: see {figures.log}", flush=True)
        found += len(figures.findings)
        if told.keep:
            kept = keep(name, [place / "grown", place / "begun-with"], place)
            print(f"  {kept} inputs are kept", flush=True)
    return int(found > 0)


def _look(name: str, paths: list[Path]) -> int:
    """Looks at inputs without atheris: what is wrong with the first that is bad is raised."""
    with (
        tempfile.TemporaryDirectory() as directory,
        target_of(name).opened(Path(directory)) as look,
    ):
        for path in paths:
            look(path.read_bytes())
            print(f"{path}: sound")
    return 0


def _told() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the fewest inputs that reach all")
    parser.add_argument(
        "--look",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="look at inputs of one target once more",
    )
    told = parser.parse_args()
    unknown = set(told.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    if told.look and len(told.targets) != 1:
        parser.error("--look is about one target")
    return told


if __name__ == "__main__":
    sys.exit(main())
