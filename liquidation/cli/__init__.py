"""The `liquidation` command. It prints; it decides nothing."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from liquidation.server.grpc_environment import prepare

__all__ = ["main"]

# The module of each command is read once the command is asked for: a probe asks for `health` every
# few seconds, and would spend most of its time on reading the server.
_COMMANDS: Final = {
    "check": "check",
    "claims": "claims",
    "db": "db",
    "errors": "reference",
    "health": "health",
    "keys": "keys",
    "logs": "logs",
    "rules": "reference",
    "serve": "serve",
    "settings": "reference",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name == "serve":
            # gRPC reads its environment when it is imported, which the command does.
            prepare()
        command: click.Command = getattr(
            import_module(f"liquidation.cli.{_COMMANDS[cmd_name]}"), cmd_name
        )
        return command


@click.group(cls=_Commands)
def cli() -> None:
    """The liquidation request rules service: run it, ask it, look at its rules."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with `arguments`, by default those of the process."""
    try:
        cli.main(None if arguments is None else list(arguments), prog_name="liquidation")
    except OSError as error:
        # A disk that is full, or a file that cannot be read to its end.
        click.echo(f"Error: {error.strerror or error}", err=True)
        sys.exit(1)
