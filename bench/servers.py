"""The servers that are measured, each with the command that starts it."""

import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import builds, cerbos_calls
from bench.databases import Databases
from bench.processes import serving
from bench.scenarios import SCENARIOS, Scenario, put_stored

__all__ = ["SERVERS", "Running", "Server", "code_in", "running"]

# What `liquidation serve` sets for itself; an empty handler without it would be easier to beat.
_TUNED: Final = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
# A check, or a claim that was to begin; a lease that expired has a line without an RPC.
_DECISION: Final = re.compile(
    rb'(?=.*"event": ?"(?:decision|claim)")(?=.*"rpc": ?"\w)(?=.*?"code": ?(-?\d+))'
)


def code_in(line: bytes) -> int | None:
    """The code of the decision that a line of a log is of; None when nobody asked for one."""
    found = _DECISION.match(line)
    return None if found is None else int(found[1])


@dataclass(frozen=True)
class Server:
    """How one server is started, what it is asked and how its log is read.

    `command` may build the program, or raise `UnavailableError`. `decides`: it decides and logs.
    `engine`: what it stores in, "" when it takes no `--store`.
    """

    command: Callable[[], list[str]]
    decides: bool = True
    engine: str = "sqlite"
    environment: Mapping[str, str] | None = None
    scenarios: Mapping[str, Scenario] = field(default_factory=lambda: SCENARIOS)
    code_in: Callable[[bytes], int | None] = code_in


def _module(name: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", f"bench.baselines.{name}"]


def _ours() -> list[str]:
    return [sys.executable, str(builds.ROOT / "server.py")]


def _before() -> list[str]:
    return [sys.executable, str(builds.release() / "server.py")]


SERVERS: Final[Mapping[str, Server]] = {
    "ours": Server(_ours),
    "release before": Server(_before),
    "one commit a claim": Server(_module("one_commit"), environment=_TUNED),
    "empty": Server(_module("empty_aio"), decides=False, engine="", environment=_TUNED),
    "Go": Server(lambda: [str(builds.go_sidecar())], engine=""),
    "Cerbos": Server(
        lambda: [str(builds.cerbos()), "server"],
        engine="",
        scenarios=cerbos_calls.SCENARIOS,
        code_in=cerbos_calls.code_in,
    ),
    "ours, PostgreSQL": Server(_ours, engine="postgres"),
    "release before, PostgreSQL": Server(_before, engine="postgres"),
    "one commit a claim, PostgreSQL": Server(
        _module("one_commit"), engine="postgres", environment=_TUNED
    ),
    "ours, standby": Server(_ours, engine="pair"),
}


@dataclass(frozen=True)
class Running:
    """A server that takes calls."""

    name: str
    server: Server
    pid: int
    address: str
    log: Path


@contextmanager
def running(name: str, directory: Path, databases: Databases | None = None) -> Iterator[Running]:
    """Starts it with an empty store and a log file of its own below `directory`.

    Raises:
        UnavailableError: it cannot be had here.
        RuntimeError: it did not start.
    """
    server = SERVERS[name]
    place = directory / name.replace(", ", "-").replace(" ", "-")
    place.mkdir()
    log, address = place / "decisions.log", None
    command = server.command()
    if name == "Cerbos":
        address = _free_address()
        command += _cerbos_flags(address, log)
    else:
        command += ["--listen=127.0.0.1:0"]
        command += [f"--log-file={log}"] if server.decides else []
    if server.engine:
        store = (databases or Databases({})).store(server.engine, place, name)
        command.append(f"--store={store}")
    with serving(command, server.environment or {}, place / "stderr", address) as (pid, at):
        if server.decides and name != "Cerbos":
            put_stored(at)
        yield Running(name, server, pid, at, log)


def _free_address() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def _cerbos_flags(address: str, log: Path) -> list[str]:
    settings = {
        "server.grpcListenAddr": address,
        "server.httpListenAddr": _free_address(),
        "storage.driver": "disk",
        "storage.disk.directory": Path(__file__).with_name("cerbos"),
        "audit.enabled": "true",
        "audit.backend": "file",
        "audit.file.path": log,
        "telemetry.disabled": "true",
    }
    return [f"--set={name}={value}" for name, value in settings.items()]
