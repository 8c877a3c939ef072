"""The help of every command."""

from collections.abc import Iterator

import click
import pytest

from liquidation.cli import cli
from tests.cli.commands import run


def commands(group: click.Group, above: str = "") -> Iterator[str]:
    """The names of all commands, those of groups included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield above + name


@pytest.mark.parametrize("command", list(commands(cli)))
def test_every_help_has_an_example(command: str) -> None:
    shown = run(*command.split(), "--help").stdout

    assert "Example" in shown
    assert f"  liquidation {command}" in shown
