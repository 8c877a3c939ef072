"""`liquidation serve`: the server, or a look at what it is told."""

import sys
from datetime import UTC, datetime
from typing import Any, Final

import click

from liquidation.config.live import ConfigurationError, read_configuration
from liquidation.config.options import serve_options
from liquidation.config.settings import Settings
from liquidation.decisionlog.opening import LogbookError
from liquidation.metrics import MetricsError
from liquidation.server import serving
from liquidation.server.listeners import ListenError
from liquidation.server.workers import WorkerFailedError, supervise
from liquidation.store.base import StoreError

# What keeps a server from starting; each says what and where.
_START_ERRORS: Final = (
    ConfigurationError,
    ListenError,
    LogbookError,
    MetricsError,
    StoreError,
    WorkerFailedError,
    serving.StartError,
)


@click.command(short_help="Serve the rules over gRPC.")
@click.option(
    "--check",
    is_flag=True,
    help="Do not serve: tell whether a server would start with all this, and change nothing.",
)
@serve_options
def serve(*, check: bool, **told: Any) -> None:
    """Serve the rules over gRPC until SIGTERM or Ctrl-C.

    \b
    Examples:
      liquidation serve --listen 127.0.0.1:50051 --store sqlite:liquidation.db
      liquidation serve --check --rules rules.toml --api-keys keys.json

    \b
    Exit status:
      0  it was told to end, and has; with --check: nothing is wrong
      1  something that it needs cannot be used
      2  the command was not used as it is meant to be
    """
    settings = Settings(**told)
    if check:
        sys.exit(not _would_start(settings))
    try:
        configuration = read_configuration(settings, _utc)
        if settings.workers == 1:
            serving.serve(settings, configuration)
        else:
            supervise(settings, configuration)
    except _START_ERRORS as error:
        raise click.ClickException(str(error)) from error


def _would_start(settings: Settings) -> bool:
    """Prints a line about each part of the settings; whether a server would start."""
    # A server that serves does not import it: what reads certificates takes 9 MB of memory.
    from liquidation.cli.options import printable  # noqa: PLC0415
    from liquidation.server.preflight import State, findings  # noqa: PLC0415

    colours = {State.OK: "green", State.NOTE: "yellow", State.WRONG: "red"}
    found = tuple(findings(settings, _utc()))
    widest = max(len(each.what) for each in found)
    for each in found:
        state = click.style(f"{each.state.value:<5}", colours[each.state])
        # What a file holds is in some of them, such as the name in a certificate.
        click.echo(f"{state}  {each.what:<{widest}}  {' '.join(printable(each.told).split())}")
    return all(each.state is not State.WRONG for each in found)


def _utc() -> datetime:
    return datetime.now(UTC)
