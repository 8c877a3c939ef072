"""The servers that take part, each as the command that starts it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import native
from bench.processes import serving

__all__ = ["CONTESTANTS", "Contestant", "Running", "absent", "running"]

# What `liquidation serve` sets for itself; a baseline without it would be easier to beat.
TUNED: Final = {"GRPC_EXPERIMENTS": "-event_engine_listener"}


@dataclass(frozen=True)
class Contestant:
    """One server: how it is started.

    `tuned`: its environment is set for it; `decides`: it decides and logs, and does not only
    answer; `unix`: it listens on a socket in its directory.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...] = ()
    tuned: bool = True
    decides: bool = True
    unix: bool = False


@dataclass(frozen=True)
class Running:
    """A contestant that takes calls."""

    name: str
    contestant: Contestant
    pid: int
    address: str
    log: Path


_PYTHON: Final = sys.executable
_OURS: Final = (_PYTHON, "server.py")
_EMPTY: Final = (_PYTHON, "-m", "bench.baselines.empty_aio")

CONTESTANTS: Final[Mapping[str, Contestant]] = {
    # Its environment is left alone: it tunes itself.
    "ours": Contestant(_OURS, tuned=False),
    "ours, two workers": Contestant(_OURS, ("--workers=2",), tuned=False),
    "ours, unix": Contestant(_OURS, tuned=False, unix=True),
    "one commit a claim": Contestant((_PYTHON, "-m", "bench.sidecar", "1", "1")),
    "empty": Contestant(_EMPTY, decides=False),
    "empty, unix": Contestant(_EMPTY, decides=False, unix=True),
    "empty, threads": Contestant((_PYTHON, "-m", "bench.baselines.empty_threads"), decides=False),
    "empty, C++": Contestant(("native",), decides=False),
    "naive": Contestant((_PYTHON, "-m", "bench.naive"), tuned=False),
}


def absent(name: str) -> str:
    """Why that contestant cannot take part here; empty where it can."""
    if name == "empty, C++":
        built = native.built("server")
        return built if isinstance(built, str) else ""
    if name == "naive" and not Path(__file__).with_name("naive").is_dir():
        return "bench.naive is not there"
    return ""


@contextmanager
def running(name: str, directory: Path) -> Iterator[Running]:
    """Starts it with an empty store and a log file of its own below `directory`."""
    contestant = CONTESTANTS[name]
    place = directory / name.replace(", ", "-").replace(" ", "-")
    place.mkdir()
    log, listen = place / "decisions.log", f"unix:{place}/s" if contestant.unix else "127.0.0.1:0"
    command = [*contestant.command, *contestant.flags, f"--listen={listen}"]
    if name == "empty, C++":
        command = [str(native.built("server")), listen]
    if contestant.decides:
        command += [f"--store=sqlite:{place}/store.db", f"--log-file={log}"]
    environment = TUNED if contestant.tuned else {}
    with serving(command, environment, place / "stderr") as (pid, address):
        yield Running(name, contestant, pid, address, log)
