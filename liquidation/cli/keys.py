"""`liquidation keys`: API keys in a file: make one, revoke one, list them."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import orjson

from liquidation.auth.keys import (
    ENTROPY_BYTES,
    KeyEntry,
    KeyRing,
    KeysError,
    Permission,
    new_key,
    revoked_key,
)
from liquidation.cli.key_edits import edit_keys, read_key_file
from liquidation.cli.options import format_option, screen
from liquidation.cli.texts import printable

__all__ = ["keys"]

_C = TypeVar("_C", bound=Callable[..., Any])

_DAYS: Final = re.compile(r"([0-9]{1,5})d")


def _file_option(command: _C) -> _C:
    return click.option(
        "--file",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help="The file of hashed keys, as `serve --api-keys` takes it.",
    )(command)


@click.group(short_help="API keys in a file: new, revoke, list.")
def keys() -> None:
    """The API keys in a file, which a server that runs with `--api-keys FILE` takes.

    It reads the file again when it has changed.

    \b
    Example:
      liquidation keys list --file keys.json
    """


@keys.command(short_help="Make a key; it is shown once.")
@click.argument("name")
@_file_option
@click.option(
    "--permission",
    "permissions",
    type=click.Choice([each.value for each in Permission]),
    multiple=True,
    required=True,
    help="What the key allows; may be given several times.",
)
@click.option(
    "--expires",
    metavar="DAYSd|DATE",
    help="When it ends, such as 90d, or 2027-01-01 (its midnight in UTC).  [default: never]",
)
def new(name: str, path: Path, permissions: tuple[str, ...], expires: str | None) -> None:
    """Make the key NAME. It is written to standard output, alone, and is nowhere else.

    The file gets its hash. A file that is not there is created for its owner alone (mode 0600).

    \b
    Examples:
      liquidation keys new risk-backend --file keys.json --permission check --permission claims
      liquidation keys new nightly --file keys.json --permission check --expires 90d

    \b
    Exit status:
      0  the key is made
      1  it is not: the name is taken, or the file cannot be read or written
      2  the command was not used as it is meant to be
    """
    now = _now()
    until = None if expires is None else _expiry(expires, now)
    made = ""

    def add(ring: KeyRing) -> KeyRing:
        nonlocal made
        entropy = secrets.token_bytes(ENTROPY_BYTES)
        ring, made = new_key(ring, name, map(Permission, permissions), until, now, entropy)
        return ring

    with _told(path):
        edit_keys(path, add, create=True)
    click.echo(made)
    click.echo(
        f"This is the key {name}. It is not shown again: put it where its owner reads it.\n"
        "Calls carry it as `authorization: Bearer KEY`.",
        err=True,
    )


@keys.command(short_help="End a key at once.")
@click.argument("name")
@_file_option
def revoke(name: str, path: Path) -> None:
    """End the key NAME at once. Its entry stays, so that its name is not given again.

    \b
    Example:
      liquidation keys revoke risk-backend --file keys.json

    \b
    Exit status:
      0  the key is revoked, now or before
      1  it is not: there is no such key, or the file cannot be read or written
      2  the command was not used as it is meant to be
    """
    with _told(path):
        edit_keys(path, lambda ring: revoked_key(ring, name, _now()))
    click.echo(f"Key {name} is revoked.")


@keys.command("list", short_help="The keys of a file, without their hashes.")
@_file_option
@format_option("json", help_="For people, or for programs.")
def list_keys(path: Path, form: str) -> None:
    """The keys of a file: names, permissions, and whether they are taken. Hashes are not shown.

    \b
    Examples:
      liquidation keys list --file keys.json
      liquidation keys list --file keys.json --format json
    """
    with _told(path):
        entries = read_key_file(path).entries
    if form == "json":
        click.echo(orjson.dumps(_records(entries), option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))
        return
    screen()  # says what to install where the tables cannot be drawn
    from liquidation.cli.key_screen import write_keys  # noqa: PLC0415 - needs rich

    write_keys(entries, _now())


def _records(entries: Iterable[KeyEntry]) -> dict[str, list[dict[str, Any]]]:
    now = _now()
    return {
        "keys": [
            {
                "name": entry.name,
                "id": entry.key_id,
                "state": entry.state(now).value,
                "permissions": [each.value for each in Permission if each in entry.permissions],
                "created": entry.created,
                "expires": entry.expires,
                "revoked": entry.revoked,
            }
            for entry in entries
        ]
    }


def _expiry(text: str, now: datetime) -> datetime:
    days = _DAYS.fullmatch(text)
    try:
        if days is not None:
            until = now + timedelta(days=int(days[1]))
        else:
            until = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{printable(text)!r} is neither a number of days, such as 90d, "
            "nor a date, such as 2027-01-01",
            param_hint="'--expires'",
        ) from None
    if until <= now:
        raise click.BadParameter(f"{text!r} does not lie ahead", param_hint="'--expires'")
    return until


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What is wrong with a file of keys, in one line."""
    try:
        yield
    except KeysError as error:
        raise click.ClickException(f"{path}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error


def _now() -> datetime:
    """The time to the second, which is what people look at."""
    return datetime.now(UTC).replace(microsecond=0)
