"""`liquidation keys`: API keys in a file: make one, revoke one, list them."""

import fcntl
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import orjson

from liquidation.auth.keys import (
    ENTROPY_BYTES,
    KeyEntry,
    KeyRing,
    KeysError,
    KeyState,
    Permission,
    keys_text,
    new_key,
    read_keys,
    revoked_key,
)
from liquidation.cli.options import (
    format_option,
    moment,
    printable,
    reported,
    screen,
    write_json,
)

_DAYS: Final = re.compile(r"([0-9]{1,5})d")


_STYLES: Final = {KeyState.GOOD: "green", KeyState.EXPIRED: "red", KeyState.REVOKED: "dim"}

_file_option: Final = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file of hashed keys, as `serve --api-keys` takes it.",
)


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

    with reported(path, KeysError, OSError):
        _edit_keys(path, add, create=True)
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
    with reported(path, KeysError, OSError):
        _edit_keys(path, lambda ring: revoked_key(ring, name, _now()))
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
    with reported(path, KeysError, OSError):
        entries = _read_key_file(path).entries
    if form == "json":
        write_json(_records(entries), orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)
        return
    now = _now()
    screen().table(
        ("name", "id", "state", "permissions", "created (UTC)", "expires (UTC)"),
        (
            (
                entry.name,
                entry.key_id,
                (entry.state(now).value, _STYLES[entry.state(now)]),
                ", ".join(_permissions(entry)),
                moment(entry.created),
                "never" if entry.expires is None else moment(entry.expires),
            )
            for entry in entries
        ),
    )


def _permissions(entry: KeyEntry) -> list[str]:
    return [each.value for each in Permission if each in entry.permissions]


def _records(entries: Iterable[KeyEntry]) -> dict[str, list[dict[str, Any]]]:
    now = _now()
    return {
        "keys": [
            {
                "name": entry.name,
                "id": entry.key_id,
                "state": entry.state(now).value,
                "permissions": _permissions(entry),
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


def _now() -> datetime:
    """The time to the second, which is what people look at."""
    return datetime.now(UTC).replace(microsecond=0)


def _read_key_file(path: Path) -> KeyRing:
    try:
        return read_keys(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise KeysError("is not UTF-8 text") from None


def _edit_keys(path: Path, change: Callable[[KeyRing], KeyRing], *, create: bool = False) -> None:
    """Replaces the keys in the file by what `change` makes of them, at once and synced to disk.

    Whoever reads the file meanwhile sees all of the old or all of the new one. It keeps its mode
    and owner; a new one, which `create` allows, is for its owner alone. Of several that edit files
    of one directory each waits for its turn.
    """
    # A link stays one: the file that it leads to is replaced.
    path = path.resolve()
    with _alone_in(path.parent) as directory:
        try:
            ring, before = _read_key_file(path), path.stat()
        except FileNotFoundError:
            if not create:
                raise
            ring, before = KeyRing(), None
        _replace(path, keys_text(change(ring)), before)
        os.fsync(directory)


@contextmanager
def _alone_in(directory: Path) -> Iterator[int]:
    """The directory's descriptor, locked against other editors; the end of a process unlocks it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str, before: os.stat_result | None) -> None:
    # The new file gets mode 0600 before anything is written to it.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None:
                _take_over(descriptor, before)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Gives a file owner and mode of another, without which a service could no longer read it."""
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, before.st_mode & 0o7777)
