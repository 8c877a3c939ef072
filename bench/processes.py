"""Processes that serve, and what they use: CPU time, context switches, resident memory."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.builds import ROOT

__all__ = ["Usage", "resident_mib", "serving", "threads_cpu_s", "usage"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_WITHIN_S: Final = 30
_END_WITHIN_S: Final = 10
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Usage:
    """What a process and all below it have used so far; threads that have ended do not count."""

    cpu_s: float
    switches: int

    def since(self, before: "Usage") -> "Usage":
        return Usage(self.cpu_s - before.cpu_s, self.switches - before.switches)


@contextmanager
def serving(
    command: Sequence[str], environment: Mapping[str, str], log: Path, address: str | None = None
) -> Iterator[tuple[int, str]]:
    """Process id and address of a server, once it takes calls; its standard error goes to `log`.

    With an `address` it is waited for there and its standard output goes to `log` too; else its
    first line of output is JSON with its addresses. Its environment is this process's without what
    tunes gRPC, and `environment`.

    Raises:
        RuntimeError: it did not start.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, **environment},
            stdout=file if address else subprocess.PIPE,
            stderr=file,
            text=True,
        )
    # A server that hangs in its start would be waited for for ever.
    watchdog = threading.Timer(_START_WITHIN_S, process.kill)
    watchdog.start()
    try:
        bound = _bound(process, address)
        watchdog.cancel()
        if bound is None:
            raise RuntimeError(f"{' '.join(command)} did not start: {log.read_text()[-2000:]}")
        yield process.pid, bound
    finally:
        watchdog.cancel()
        process.terminate()
        try:
            process.communicate(timeout=_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _bound(process: "subprocess.Popen[str]", address: str | None) -> str | None:
    """Where it takes calls; None when it has ended before."""
    if address is None:
        assert process.stdout is not None
        line = process.stdout.readline()
        return json.loads(line)["addresses"][0] if line else None
    host, _, port = address.rpartition(":")
    while process.poll() is None:
        try:
            with socket.create_connection((host, int(port))):
                return address
        except ConnectionRefusedError:
            time.sleep(_POLL_S)
    return None


def usage(pid: int) -> Usage:
    """What the process and its children have used."""
    cpu, switches = 0.0, 0
    for each in _tree(pid):
        cpu += _cpu_s(Path(f"/proc/{each}"))
        for task in _tasks(each):
            switches += _switches(task)
    return Usage(cpu, switches)


def threads_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds that each thread of the process alone has used so far."""
    return {int(task.name): _cpu_s(task) for task in _tasks(pid)}


def resident_mib(pid: int) -> float:
    """Resident memory of that process alone, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in _tasks(pid):
        for child in _read(task / "children").split():
            yield from _tree(int(child))


def _tasks(pid: int) -> list[Path]:
    """A folder for each thread of a process; none if it has ended."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_s(entry: Path) -> float:
    # The name, in brackets, may hold blanks; utime and stime are the 12th and 13th after it.
    fields = _read(entry / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0


def _switches(task: Path) -> int:
    lines = _read(task / "status").splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def _read(path: Path) -> str:
    """What /proc tells; nothing of a thread or process that has ended since it was listed."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
