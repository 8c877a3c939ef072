"""The service as an operator starts it: a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.analysis.schema import problems_of_log

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Process:
    """A server that said that it serves, and what it said."""

    popen: subprocess.Popen[str]
    serving: dict[str, Any]

    @property
    def address(self) -> str:
        address: str = self.serving["addresses"][0]
        return address

    @property
    def output(self) -> IO[str]:
        assert self.popen.stdout is not None
        return self.popen.stdout


def workers_of(supervisor: int) -> set[int]:
    """The workers of a supervisor that run now."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    found = set()
    for pid in map(int, children):
        # It ended a moment ago, before its file was opened or before it was read.
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def start(
    arguments: list[str], directory: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts `python server.py` with a store in `directory`, which is also where it runs."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), *arguments],
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(
    directory: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[Process]:
    """A server on a free port unless told otherwise; killed at the end where it still runs.

    What it logged to a file in `directory` is held against the schema.
    """
    listen = [] if "--listen" in arguments or environment else ["--listen", "127.0.0.1:0"]
    with start([*listen, *arguments], directory, environment) as popen:
        assert popen.stdout is not None
        try:
            line = popen.stdout.readline()
            assert line, popen.stderr.read() if popen.stderr else ""
            yield Process(popen, json.loads(line))
        finally:
            popen.kill()
    for log_file in directory.glob("*.log*"):
        assert problems_of_log(log_file) == []
