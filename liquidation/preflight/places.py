"""Whether the server can write where it keeps things."""

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from liquidation.preflight.finding import Finding, note, ok, wrong
from liquidation.settings import Settings
from liquidation.store.sqlite_schema import NEWEST, version_at

__all__ = ["decision_log", "lacks_directory", "store"]

_STORE: Final = "store"
_LOG: Final = "log"
# The files beside a database, which whoever uses it must be able to write.
_BESIDE: Final = ("-wal", "-shm", "-turn", "-inside", "-log")


def lacks_directory(path: Path) -> str:
    """Why nothing can be made at `path`; "" where it can."""
    directory = path.parent
    try:
        mode = directory.stat().st_mode
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(mode):
        return f"{directory} is not a directory"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"this user may not write in {directory}"
    return ""


def store(settings: Settings) -> Finding:
    """Whether the database can be used, or made; it is neither written to nor held up."""
    path = settings.store
    name = f"sqlite:{path}"
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


def decision_log(settings: Settings) -> Finding:
    """Whether lines can be appended where they should be; no file is made."""
    path = settings.log_file
    told = "standard output"
    if path is not None:
        problem, told = _appending(path)
        if problem:
            return wrong(_LOG, f"{path}: {problem}")
    if not settings.log_redact:
        return ok(_LOG, told)
    told += f"; as hashes: {', '.join(settings.log_redact)}"
    if settings.log_redact_key:
        return ok(_LOG, told)
    # Ids are few enough to be tried one by one.
    return note(_LOG, f"{told}, which without --log-redact-key show to whoever has a list of ids")


def _appending(path: Path) -> tuple[str, str]:
    """Why nothing can be appended to `path`, "" where it can; and what is told then."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return lacks_directory(path), f"{path}: is not there yet, and will be made"
    except OSError as error:
        return str(error.strerror), ""
    if stat.S_ISDIR(mode):
        return "is a directory", ""
    problem = "" if os.access(path, os.W_OK) else "this user may not write to it"
    return problem, f"{path}: lines will be appended"
