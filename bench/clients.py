"""Which client makes the calls of a round: h2load, or the load client of `bench/native`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import native
from bench.h2load import Load, Shape, framed, h2load, missing
from bench.scenarios import Scenario

__all__ = ["load", "load_command", "told_clients"]

# So many messages are used in turn where they need not all differ.
FRAMES: Final = 1000


def load_command() -> list[str]:
    """The load client, which sends messages that differ, and streams; Python's where C++ lacks."""
    built = native.built("load")
    return [sys.executable, "-m", "bench.load"] if isinstance(built, str) else [str(built)]


def told_clients() -> str:
    """Which clients the figures are of."""
    built = native.built("load")
    other = f"a Python client ({built})" if isinstance(built, str) else "bench/native/load.cc"
    unary = "the latter" if missing() else "h2load"
    return f"Calls marked * and streams by {other}, all other calls by {unary}."


def load(
    address: str, scenario: Scenario, shape: Shape, calls: int, directory: Path, *, by_load: bool
) -> Load:
    """One round of calls, or of items of a stream on each connection."""
    if by_load or scenario.distinct or missing():
        return _by_load(address, scenario, shape, calls, directory)
    return h2load(address, scenario.path, scenario.message(0), shape, calls, directory)


def _by_load(address: str, scenario: Scenario, shape: Shape, calls: int, directory: Path) -> Load:
    frames = directory / "frames.bin"
    sent = calls if scenario.distinct and not scenario.window else min(calls, FRAMES)
    frames.write_bytes(b"".join(framed(scenario.message(number)) for number in range(sent)))
    command = [
        *(*load_command(), address, scenario.path, str(frames)),
        *("--channels", str(shape.connections), "--calls", str(calls)),
        *("--in-flight", str(shape.connections * shape.streams)),
        *(("--stream", str(scenario.window)) if scenario.window else ()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    told = json.loads(done.stdout)
    right = "9" if scenario.refused else "0"  # FAILED_PRECONDITION, OK
    if told["codes"] != {right: calls}:
        raise RuntimeError(f"{address}{scenario.path} was answered with codes {told['codes']}")
    return Load(calls, told["per_second"], told["p50_us"], told["p99_us"])
