"""Runs the command as a user does: in this process, or in one of its own."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from liquidation.cli import cli

REQUESTS = Path(__file__).parent / "requests.jsonl"
REAL_REQUESTS = Path(__file__).parent.parent / "data" / "real_requests.jsonl"


def run(*arguments: str, given: bytes | None = None) -> Result:
    """The command in this process, with `given` as its standard input."""
    return CliRunner().invoke(cli, arguments, input=given)


async def run_apart(*arguments: str) -> Result:
    """The same while the event loop goes on, so that a server in it can answer."""
    return await asyncio.to_thread(run, *arguments)


def records(result: Result) -> list[dict[str, Any]]:
    """What a command wrote as JSON, one object a line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


async def in_a_process(*arguments: str, program: str = "") -> tuple[int, str, str]:
    """Exit status, output and errors of a process of its own.

    `program` is Python code that runs before the command does.
    """
    code = f"{program}\nfrom liquidation.cli import main\nmain()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def on_a_terminal(*arguments: str, typed: str = "", columns: int = 80) -> tuple[int, str]:
    """Exit status and screen of a process on a terminal of its own, at which `typed` is typed."""
    return await asyncio.to_thread(_on_a_terminal, arguments, typed, columns)


def _on_a_terminal(arguments: tuple[str, ...], typed: str, columns: int) -> tuple[int, str]:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    unset = {"COLUMNS", "LINES"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    process = subprocess.Popen(
        [sys.executable, "-m", "liquidation.cli", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment | {"TERM": "xterm", "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(its)
    os.write(ours, typed.encode())
    screen = b"".join(_read_to_its_end(ours))
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.decode())
    return process.wait(), text.replace("\r\n", "\n")


def _read_to_its_end(terminal: int) -> Iterator[bytes]:
    """What comes from a terminal until the last process on it has ended, which is an error."""
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            yield piece
