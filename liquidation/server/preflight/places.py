"""Whether the server can write where it keeps things."""

import os
import stat
from pathlib import Path
from typing import Final

from liquidation.config.settings import Settings
from liquidation.server.preflight.finding import Finding, note, ok, wrong

__all__ = ["decision_log", "lacks_directory"]

_LOG: Final = "log"


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
