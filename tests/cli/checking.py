"""`serve --check`, and what it tells."""

import asyncio
import re
from pathlib import Path

from click.testing import Result

from tests.cli.commands import in_a_process, run

__all__ = ["check", "check_as_a_user", "contents", "finding", "told"]

# Root may write everywhere, so it gives that up; first it checks once, since who comes after it may
# not be able to load what is needed.
_AS_A_USER = """
import os
from click.testing import CliRunner
from liquidation.cli import cli
CliRunner().invoke(cli, ["serve", "--check"])
os.geteuid() or os.setuid(65534)
"""


def check(*arguments: str) -> Result:
    """The check, on a free port where no address is given."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    return run("serve", "--check", *listen, *arguments)


def check_as_a_user(*arguments: str) -> tuple[int, str]:
    """Exit status and output of a check by somebody who is not root."""
    checked = in_a_process("serve", "--check", *arguments, program=_AS_A_USER)
    status, output, errors = asyncio.run(checked)
    assert errors == ""
    return status, output


def told(result: Result) -> list[tuple[str, str, str]]:
    """The lines of a check: state, part, words."""
    assert result.stderr == ""
    lines = [re.split(r" {2,}", line, maxsplit=2) for line in result.stdout.splitlines()]
    return [(state, part, words) for state, part, words in lines]


def finding(part: str, *arguments: str) -> tuple[str, str]:
    """The one line on a part; the check ends with 1 exactly where some line is wrong."""
    result = check(*arguments)
    found = told(result)
    assert result.exit_code == any(state == "wrong" for state, _, _ in found)
    ((state, words),) = [(state, words) for state, each, words in found if each == part]
    return state, words


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """What stands in a directory, and when each was changed."""
    return {
        each.name: (each.stat().st_size, each.stat().st_mtime_ns) for each in directory.iterdir()
    }
