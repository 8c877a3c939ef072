"""A run of tests against a mutant is a fork: nothing of it stays but its word."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis

__all__ = ["BROKEN", "alarm_after", "draw_fewer", "forked", "mutated", "prepare"]

BROKEN: Final = 70
"""The status of a run that says nothing about the mutant: the harness itself failed."""

# A mutant that cannot be imported ends the collection: 2 in a test file, 4 where all of them look.
# Where there is nothing to run (5), nothing failed.
_BY_STATUS: Final = {0: "survived", 1: "killed", 2: "killed", 4: "killed", 5: "survived"}
# Ten times what a test takes, and as much as a busy machine may lose on top of it.
_TIMES_USUAL: Final = 10
_SPARE_S: Final = 10.0
# Drawn tests draw fewer examples than in a usual run: what kills a mutant kills it soon, and what
# would take longer is counted as a survivor, so the figure can only be too low.
_EXAMPLES: Final = 25


def forked(act: Callable[[], int]) -> tuple[str, float]:
    """What a child said that did `act`, and how long it took; its processes end with it."""
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = BROKEN
        with contextlib.suppress(BaseException):
            status = act()
        os._exit(status)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return _named(status), round(time.monotonic() - begun, 3)


def _named(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return _BY_STATUS.get(os.WEXITSTATUS(status), "broken")


def prepare(output: Path) -> None:
    """In the child: what it prints goes to `output`, and it draws the same examples each time."""
    os.setsid()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    out = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)


def alarm_after(usual_s: float) -> None:
    """The process ends, by the signal itself, where a test takes far longer than it ever does."""
    signal.setitimer(signal.ITIMER_REAL, _SPARE_S + _TIMES_USUAL * usual_s)


def draw_fewer(test: Any) -> None:
    """A drawn test takes few examples, always the same, and shows the first that fails as it is."""
    function = getattr(test, "__func__", test)
    asked = getattr(function, "_hypothesis_internal_use_settings", None)
    if asked is not None:
        function._hypothesis_internal_use_settings = hypothesis.settings(
            asked,
            max_examples=min(asked.max_examples, _EXAMPLES),
            database=None,
            derandomize=True,
            phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
            suppress_health_check=tuple(hypothesis.HealthCheck),
        )


@contextlib.contextmanager
def mutated(path: Path, source: str) -> Iterator[None]:
    """The file with other content, and a time that no compiled file has."""
    original, found = path.read_bytes(), path.stat()
    path.write_text(source, encoding="utf-8")
    os.utime(path, (found.st_atime, found.st_mtime + 1000))
    try:
        yield
    finally:
        path.write_bytes(original)
        os.utime(path, (found.st_atime, found.st_mtime))
