"""The server that is attacked, looked at from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import Process, serving

# Rates are counted, and nobody who is well-behaved comes near theirs.
_RULES = 'version = "attacked"\n[limits]\nliquidator_requests_per_second = 1_000_000\n'
# What makes the kernel count the greatest size anew (proc(5), /proc/PID/clear_refs).
_FORGET_PEAK = "5"


@contextmanager
def serving_under_attack(directory: Path) -> Iterator[Process]:
    """A server as it is by default, with all that counts callers turned on."""
    (directory / "rules.toml").write_text(_RULES)
    with serving(directory, "--rules", "rules.toml", "--log-file", "decisions.log") as process:
        yield process


def resident_mib(pid: int) -> float:
    """What the process holds in memory now."""
    return _status(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most that it held since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Counts the most that the process holds from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK)


def descriptors(pid: int) -> int:
    """How many files and sockets it has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
