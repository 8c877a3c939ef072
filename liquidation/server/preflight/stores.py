"""Whether the store can be used; it is neither written to nor held up."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from liquidation.config.settings import Settings
from liquidation.server.preflight.finding import Finding, note, ok, wrong
from liquidation.server.preflight.places import lacks_directory
from liquidation.store.locations import DriverMissingError, SqliteFile, require_driver
from liquidation.store.sqlite.schema import NEWEST, version_at

__all__ = ["store"]

_STORE: Final = "store"
# The files beside a database, which whoever uses it must be able to write.
_BESIDE: Final = ("-wal", "-shm", "-turn", "-inside", "-log")


def store(settings: Settings) -> Iterator[Finding]:
    """What is to be told of the database, at least one finding."""
    if isinstance(settings.store, SqliteFile):
        yield _sqlite(settings.store)
        return
    try:
        require_driver()
    except DriverMissingError as error:
        yield wrong(_STORE, str(error))
        return
    from liquidation.server.preflight.postgres import postgres  # noqa: PLC0415 - it needs an extra

    yield from postgres(_STORE, settings.store)


def _sqlite(file: SqliteFile) -> Finding:
    path, name = file.path, file.told
    if problem := lacks_directory(path) or _cannot_write(path):
        return wrong(_STORE, f"{name}: {problem}")
    if not path.exists():
        return ok(_STORE, f"{name}: is not there yet, and will be made")
    try:
        version = version_at(path)
    except sqlite3.Error as error:
        return wrong(_STORE, f"{name}: {error}")
    return _of_version(name, version)


def _cannot_write(path: Path) -> str:
    for each in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in _BESIDE)):
        if each.is_dir():
            return f"{each} is a directory"
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            return f"this user may not write to {each}"
    return ""


def _of_version(name: str, version: int | None) -> Finding:
    if version is None:
        return note(_STORE, f"{name}: holds the tables of another program, and none of this one's")
    if version > NEWEST:
        told = f"{name}: schema version {version}, of which {NEWEST} is the newest known here"
        return wrong(_STORE, told)
    if version == 0:
        return ok(_STORE, f"{name}: is empty, and will be set up")
    if version < NEWEST:
        told = f"{name}: schema version {version}, which the start brings to {NEWEST} for good"
        return note(_STORE, told)
    return ok(_STORE, f"{name}: schema version {version}")
