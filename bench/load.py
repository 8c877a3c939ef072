"""Rounds of calls: by h2load, which costs the least CPU, or by Node where messages differ."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.builds import UnavailableError
from bench.scenarios import Scenario

__all__ = ["Load", "Shape", "framed", "load", "require_clients"]

# Far above what a round takes: a server that does not answer would be waited for for ever.
_ROUND_WITHIN_S: Final = 600
_NODE_CLIENT: Final = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True)
class Shape:
    """How many connections, and how many unary calls are in flight on each."""

    connections: int
    in_flight: int

    @property
    def total(self) -> int:
        """Calls in flight on all connections."""
        return self.connections * self.in_flight

    def __str__(self) -> str:
        return f"{self.connections}×{self.in_flight}"


@dataclass(frozen=True)
class Load:
    """The result of one round: calls, calls a second, latencies in microseconds."""

    calls: int
    per_second: float
    p50_us: float
    p99_us: float


def require_clients() -> None:
    """Returns when both clients are installed.

    Raises:
        UnavailableError: one is not.
    """
    for program, package in (("h2load", "nghttp2-client"), ("node", "nodejs")):
        if not shutil.which(program):
            raise UnavailableError(f"{program} is not installed: Debian's package {package}")


def framed(message: bytes) -> bytes:
    """The message as gRPC sends it: not compressed, with its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def load(address: str, scenario: Scenario, shape: Shape, calls: int, directory: Path) -> Load:
    """One round of `calls` calls, or of as many items on one stream for each connection.

    Raises:
        RuntimeError: a call failed or, where the client sees it, had another gRPC status than it
            should. h2load sees HTTP alone: what it was answered is counted in the decision log.
    """
    if scenario.distinct or scenario.window:
        return _by_node(address, scenario, shape, calls, directory)
    body, times = directory / "body.bin", directory / "times.tsv"
    body.write_bytes(framed(scenario.message()))
    times.unlink(missing_ok=True)
    told = _output(
        *("h2load", f"-c{shape.connections}", f"-m{shape.in_flight}", f"-n{calls}"),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        *("-d", str(body), f"--log-file={times}", f"http://{address}{scenario.path}"),
    )
    return _read_times(told, times, calls)


def _read_times(told: str, times: Path, calls: int) -> Load:
    """Latencies and span from the log: the rate that h2load prints counts its own start as well."""
    starts, ends, taken = [], [], []
    for line in times.read_text().splitlines():
        start, status, micros = line.split("\t")
        if status != "200":
            raise RuntimeError(f"h2load was answered with HTTP {status}:\n{told}")
        starts.append(int(start))
        ends.append(int(start) + int(micros))
        taken.append(int(micros))
    if len(taken) != calls:
        raise RuntimeError(f"h2load made {len(taken)} of {calls} calls:\n{told}")
    taken.sort()
    seconds = (max(ends) - min(starts)) / 1e6
    return Load(calls, calls / seconds, taken[calls // 2], taken[min(calls * 99 // 100, calls - 1)])


def _by_node(address: str, scenario: Scenario, shape: Shape, calls: int, directory: Path) -> Load:
    frames = directory / "frames.bin"
    messages: Iterable[bytes] = (
        (scenario.message() for _ in range(calls)) if scenario.distinct else [scenario.message()]
    )
    frames.write_bytes(b"".join(map(framed, messages)))
    numbers = (shape.connections, shape.in_flight, calls, scenario.window)
    command = ("node", str(_NODE_CLIENT), address, scenario.path, str(frames))
    told = json.loads(_output(*command, *map(str, numbers)))
    if told["codes"] != {str(scenario.status): calls}:
        raise RuntimeError(f"{address}{scenario.path} was answered with codes {told['codes']}")
    return Load(calls, told["per_second"], told["p50_us"], told["p99_us"])


def _output(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_ROUND_WITHIN_S
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout
