"""Where the time of a call goes, by layer: a sidecar under load, looked at by py-spy.

python -m bench.profile [--seconds S]
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.clients import load
from bench.contestants import Running, running
from bench.h2load import Shape
from bench.layers import BELOW, OWN_THREADS, layer_of
from bench.processes import threads_cpu_s, usage
from bench.scenarios import SCENARIOS, put_stored
from bench.table import machine

__all__ = ["PROFILED", "ProfileError", "profile", "shares_of", "table"]

PROFILED: Final = ("accepted", "refused", "accepted, snapshot", "begin")
SHAPE: Final = Shape(4, 16)
# Looks a second: each stops the server for a moment.
_RATE: Final = 250
_CALLS: Final = 2000
_THREAD: Final = re.compile(r"thread \((\d+)\)")


class ProfileError(Exception):
    """No profile can be taken here; the text says why."""


def profile(
    scenarios: Sequence[str], seconds: float, directory: Path
) -> tuple[dict[str, Mapping[str, float]], dict[str, float]]:
    """Of each scenario the share of each layer, and the CPU time of a call in µs.

    Raises:
        ProfileError: py-spy is not there, or may not look.
    """
    shares: dict[str, Mapping[str, float]] = {}
    cpu_us = {}
    with running("ours", directory) as server:
        put_stored(server.address)
        for scenario in scenarios:
            # Without the profiler first: it stops the server at each look.
            before = usage(server.pid)
            calls = _load_for(server, scenario, seconds / 2, directory)
            cpu_us[scenario] = usage(server.pid).since(before).cpu_s / calls * 1e6
            shares[scenario] = _shares(server, scenario, seconds, directory)
    return shares, cpu_us


def _load_for(server: Running, scenario: str, seconds: float, directory: Path) -> int:
    """Calls for about so long; how many."""
    until = time.monotonic() + seconds
    calls = 0
    while not calls or time.monotonic() < until:
        load(server.address, SCENARIOS[scenario], SHAPE, _CALLS, directory, by_load=False)
        calls += _CALLS
    return calls


def _shares(server: Running, scenario: str, seconds: float, directory: Path) -> dict[str, float]:
    before = threads_cpu_s(server.pid)
    stacks = _looked_at(server, scenario, seconds, directory)
    after = threads_cpu_s(server.pid)
    return shares_of(stacks, {each: used - before.get(each, 0) for each, used in after.items()})


def _looked_at(server: Running, scenario: str, seconds: float, directory: Path) -> str:
    """The stacks that py-spy saw while the calls were made."""
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        raise ProfileError("py-spy is not installed")
    stacks = directory / "stacks.txt"
    looking = subprocess.Popen(
        [
            *(py_spy, "record", f"--pid={server.pid}", f"--rate={_RATE}", "--threads"),
            *(f"--duration={max(int(seconds), 1)}", "--format=raw", f"--output={stacks}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while looking.poll() is None:
        _load_for(server, scenario, 0, directory)
    _, told = looking.communicate()
    if looking.returncode or not stacks.exists():
        raise ProfileError(f"py-spy may not look at another process here: {told.strip()}")
    return stacks.read_text()


def shares_of(stacks: str, cpu_s: Mapping[int, float]) -> dict[str, float]:
    """The share of each layer of the CPU time of all threads; they add up to 1.

    `stacks` are as py-spy writes them, `cpu_s` what each thread has used meanwhile. A thread that
    waits may be seen as if it computed, so a thread's samples only part what it has used.
    """
    samples: dict[int, Counter[str]] = {}
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        found = _THREAD.match(thread)
        if found is not None:
            samples.setdefault(int(found[1]), Counter())[layer_of(frames)] += int(count)
    if not samples:
        raise ProfileError("py-spy saw nothing")
    shares: Counter[str] = Counter()
    for thread_id, used in cpu_s.items():
        # py-spy sees no thread that runs no Python.
        seen = samples.get(thread_id, Counter({OWN_THREADS: 1}))
        for layer, count in seen.items():
            shares[layer] += used / sum(cpu_s.values()) * count / seen.total()
    return dict(shares)


def table(shares: Mapping[str, Mapping[str, float]], cpu_us: Mapping[str, float]) -> list[str]:
    """A row a layer, the largest first: its share and µs of CPU a call, for each scenario."""
    largest = {
        layer: max(each.get(layer, 0) for each in shares.values())
        for layer in {layer for each in shares.values() for layer in each}
    }
    layers = sorted(largest, key=lambda layer: (layer not in (OWN_THREADS, BELOW), -largest[layer]))
    lines = [
        f"| layer | {' | '.join(shares)} |",
        f"|---|{'---|' * len(shares)}",
    ]
    for layer in layers:
        cells = (
            f"{share.get(layer, 0):.0%}, {share.get(layer, 0) * cpu_us[name]:.0f} µs"
            for name, share in shares.items()
        )
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    return [*lines, f"| all | {' | '.join(f'{cpu_us[name]:.0f} µs' for name in shares)} |"]


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6, help="how long each is looked at")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        try:
            shares, cpu_us = profile(PROFILED, told.seconds, Path(name))
        except ProfileError as error:
            sys.exit(f"profile: {error}")
    print(machine(), "", *table(shares, cpu_us), sep="\n")


if __name__ == "__main__":
    main()
