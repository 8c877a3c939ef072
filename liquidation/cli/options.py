"""What several commands share: the server to ask, the rules to ask, how answers are printed.

A user never sees a traceback for what went wrong outside of the program: one line on standard
error says what and where.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import click

from liquidation import needs_extra
from liquidation.config.settings import DEFAULT_LISTEN, load_policy
from liquidation.rules.policy import Policy, PolicyError

__all__ = [
    "address_option",
    "format_option",
    "policy_of",
    "rules_option",
    "screen",
    "server_option",
]

_C = TypeVar("_C", bound=Callable[..., Any])


def _address(_: click.Context, __: click.Parameter, address: str | None) -> str | None:
    if address is None or (address.startswith("unix:") and address != "unix:"):
        return address
    host, _colon, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise click.BadParameter(f"{address!r} is neither HOST:PORT nor unix:PATH")
    return address


address_option: Final = click.option(
    "--address",
    metavar="HOST:PORT|unix:PATH",
    callback=_address,
    help="Ask the server there.  [default: no server, the rules run in this process]",
)
server_option: Final = click.option(
    "--address",
    metavar="HOST:PORT|unix:PATH",
    callback=_address,
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Ask the server there.",
)


def format_option(*for_programs: str, help_: str) -> Callable[[_C], _C]:
    """`--format`: a table for people, which is the default, or one of the forms for programs."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", *for_programs]),
        default="table",
        show_default=True,
        help=help_,
    )


rules_option: Final = click.option(
    "--rules",
    type=click.Path(path_type=Path),
    help="The rules.toml to run here, without a server.  [default: the built-in rules]",
)


def policy_of(path: Path | None) -> Policy:
    """The rules in the file at `path`, or the built-in ones; a bad file ends the command."""
    try:
        return load_policy(path)
    except PolicyError as error:
        raise click.ClickException(f"{path}: {error}") from error


def screen() -> ModuleType:
    """The module that draws tables; it needs rich, which not every installation has."""
    try:
        from liquidation.cli import screen  # noqa: PLC0415 - the other formats work without rich
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{needs_extra('a table', 'cli')}; or choose another --format"
        ) from error
    return screen
