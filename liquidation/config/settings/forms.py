"""How settings are written: texts to values, or what is wrong with them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import click

from liquidation.config.addresses import parse_address, parse_owner
from liquidation.rules.numbers import ONE, ZERO, parse_decimal
from liquidation.store.locations import StoreLocation, parse_location

__all__ = ["addresses", "metrics_address", "octal_mode", "owner", "share", "store"]

_LOOPBACK: Final = "127.0.0.1"
# Read, write and execute for owner, group and others.
_MODES: Final = 0o777

_Context = click.Context
_Parameter = click.Parameter


def addresses(_: _Context, __: _Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Where to take calls: HOST:PORT or unix:PATH each."""
    for text in texts:
        _checked(parse_address, text)
    return texts


def metrics_address(_: _Context, __: _Parameter, text: str | None) -> str | None:
    """HOST:PORT, or a port of loopback alone."""
    if text is None:
        return None
    address = f"{_LOOPBACK}:{text}" if text.isascii() and text.isdigit() else text
    if address.startswith("unix:"):
        raise click.BadParameter(f"{text!r} is neither HOST:PORT nor PORT")
    _checked(parse_address, address)
    return address


def store(_: _Context, __: _Parameter, text: str) -> StoreLocation:
    """sqlite:PATH, or the URL of a PostgreSQL database."""
    try:
        return parse_location(text)
    except ValueError as error:
        # It says nothing of the text, which may hold a password.
        raise click.BadParameter(str(error)) from error


def share(_: _Context, __: _Parameter, text: str) -> Decimal:
    """A decimal from 0 to 1."""
    found = parse_decimal(text)
    if found is None or not ZERO <= found <= ONE:
        raise click.BadParameter(f"{text!r} is not a decimal from 0 to 1")
    return found


def octal_mode(_: _Context, __: _Parameter, text: str) -> int:
    """The permissions of a file, as chmod takes them in digits."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _MODES:
        raise click.BadParameter(f"{text!r} is not a mode such as 0660")
    return mode


def owner(_: _Context, __: _Parameter, text: str | None) -> str | None:
    """USER or USER:GROUP, both of this host."""
    if text is not None:
        _checked(parse_owner, text)
    return text


def _checked(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
