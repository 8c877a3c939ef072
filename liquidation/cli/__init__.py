"""The `liquidation` command. It prints; it decides nothing."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from liquidation import serving
from liquidation.cli import check, claims, errors, rules
from liquidation.cli.logs import logs
from liquidation.cli.options import policy_of
from liquidation.settings import Settings, serve_options
from liquidation.store.base import StoreError
from liquidation.workers import WorkerFailedError, supervise

__all__ = ["main"]


@click.group()
def cli() -> None:
    """The liquidation request rules service: run it, ask it, look at its rules."""


@cli.command()
@serve_options
def serve(**told: Any) -> None:
    """Serve the rules over gRPC until SIGTERM or Ctrl-C.

    \b
    Example:
      liquidation serve --listen 127.0.0.1:50051 --store sqlite:liquidation.db
    """
    settings = Settings(**told)
    policy = policy_of(settings.rules)
    try:
        if settings.workers == 1:
            serving.serve(settings, policy)
        else:
            supervise(settings, policy)
    except (serving.ListenError, StoreError, WorkerFailedError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{settings.log_file}: {error.strerror}") from error


for command in (check.check, claims.claims, errors.errors, logs, rules.rules):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with `arguments`, by default those of the process."""
    try:
        cli.main(None if arguments is None else list(arguments), prog_name="liquidation")
    except OSError as error:
        # A disk that is full, or a file that cannot be read to its end.
        click.echo(f"Error: {error.strerror or error}", err=True)
        sys.exit(1)
