"""Unary calls by h2load, which costs less CPU than any gRPC client: the load shares the cores."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "Shape", "framed", "h2load", "missing"]


@dataclass(frozen=True)
class Shape:
    """So many connections with so many calls in flight on each."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections}×{self.streams}"


@dataclass(frozen=True)
class Load:
    """What one round of calls came to; latencies in microseconds."""

    calls: int
    per_second: float
    p50_us: float
    p99_us: float


def missing() -> str:
    """Why h2load cannot be used here; empty where it can."""
    return "" if shutil.which("h2load") else "h2load is not installed (package nghttp2-client)"


def framed(message: bytes) -> bytes:
    """The message as gRPC sends it: not compressed, with its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def h2load(
    address: str, path: str, message: bytes, shape: Shape, calls: int, directory: Path
) -> Load:
    """Makes `calls` calls of that method with that one message.

    An answer is counted when it is HTTP 200, which gRPC sends with every status: what the answers
    are is checked elsewhere.
    """
    body, times = directory / "body.bin", directory / "times.tsv"
    body.write_bytes(framed(message))
    times.unlink(missing_ok=True)
    socket = address.removeprefix("unix:")
    host, base = (
        (f"http://{address}", [])
        if socket == address
        else ("http://localhost", [f"-Bunix:{socket}"])
    )
    done = subprocess.run(
        [
            *("h2load", f"-c{shape.connections}", f"-m{shape.streams}", f"-n{calls}", *base),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            *("-d", str(body), f"--log-file={times}", f"{host}{path}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return _read(done.stdout, times, calls)


def _read(told: str, times: Path, calls: int) -> Load:
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
