"""Runs the command as a user does: in this process, or in one of its own."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
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
