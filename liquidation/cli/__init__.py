"""The `liquidation` command. It prints; it decides nothing."""

from collections.abc import Sequence
from pathlib import Path

import click

from liquidation import serving
from liquidation.core.policy import PolicyError
from liquidation.settings import Settings, load_policy, serve_options
from liquidation.store.base import StoreError

__all__ = ["main"]


@click.group()
def cli() -> None:
    """The liquidation request rules service: run it, ask it, look at its rules."""


@cli.command()
@serve_options
def serve(listen: tuple[str, ...], store: Path, rules: Path | None, log_file: Path | None) -> None:
    """Serve the rules over gRPC until SIGTERM or Ctrl-C."""
    try:
        policy = load_policy(rules)
    except PolicyError as error:
        raise click.ClickException(f"{rules}: {error}") from error
    try:
        serving.serve(Settings(listen, store, rules, log_file), policy)
    except (serving.ListenError, StoreError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{log_file}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with `arguments`, by default those of the process."""
    cli.main(None if arguments is None else list(arguments), prog_name="liquidation")
