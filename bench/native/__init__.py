"""The bench's native programs: an empty server and a load client on gRPC's C++ library.

They are built here on first use, and again when their source has changed. A machine that lacks what
that takes is no fault: `built` then says what is missing, and the bench goes without.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Literal

__all__ = ["built"]

_SOURCES: Final = Path(__file__).parent
_BUILT: Final = _SOURCES.parent.parent / "build" / "bench"
_FLAGS: Final = ("-std=c++17", "-O2", "-Wall", "-Wextra")


def built(name: Literal["server", "load"]) -> Path | str:
    """The program of that name, up to date; or a sentence that says why it cannot be built here.

    Raises `subprocess.CalledProcessError` when the compiler refuses the source.
    """
    source, program = _SOURCES / f"{name}.cc", _BUILT / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    lacking = _lacking()
    if lacking:
        return lacking
    _BUILT.mkdir(parents=True, exist_ok=True)
    # Put in place when whole: another process may be about to run it.
    unfinished = _BUILT / f"{name}.{os.getpid()}"
    try:
        command = ["g++", *_FLAGS, str(source), "-o", str(unfinished), *_library()]
        subprocess.run(command, check=True)
        unfinished.replace(program)
    finally:
        unfinished.unlink(missing_ok=True)
    return program


def _lacking() -> str:
    for tool in ("g++", "pkg-config"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode:
        return "libgrpc++ is not installed (package libgrpc++-dev)"
    return ""


def _library() -> list[str]:
    told = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "grpc++"], check=True, capture_output=True, text=True
    )
    return told.stdout.split()
