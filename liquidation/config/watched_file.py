"""Reads files, and reads them again when they change."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

_T = TypeVar("_T")
_Print = tuple[tuple[int, ...] | None, ...]
# How often files are polled, in seconds.
POLL_S = 0.25


def read_text(path: Path, problem: type[Exception]) -> str:
    """The text of the file at `path`, in UTF-8.

    Raises:
        problem: it cannot be read, or is no text; the words say why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise problem(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise problem(f"is not UTF-8 text: {error.reason}") from error


class OnReload(Protocol):
    """Is told what came of reading a file again; `problem` is "" if it was taken.

    What was read comes into force when this returns, or before that by a call of `take`.
    """

    def __call__(self, name: str, problem: str, take: Callable[[], None], /) -> None: ...


class Reloadable(Protocol):
    """Something that files are read for, whatever is in them."""

    name: str
    problem: str
    paths: tuple[Path, ...]

    def poll(self) -> None: ...
    def reload(self) -> None: ...


class WatchedFile(Generic[_T]):
    """What files say, as they were when they were last valid.

    Any thread may poll or reload it while others read `current`.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        read: Callable[[], _T],
        problems: tuple[type[Exception], ...],
        in_force: _T,
        on_reload: OnReload,
    ) -> None:
        """`name` says what the files are for; `read` reads them all, and raises one of `problems`.

        `in_force` was read before; whether the files are still the same is seen by reading again.
        """
        self.name = name
        self.current = in_force
        self.problem = ""
        self.paths = tuple(paths)
        self._read = read
        self._problems = problems
        self._on_reload = on_reload
        self._lock = threading.Lock()
        # What was read last, and what was seen at the last poll.
        self._taken: _Print | None = None
        self._seen: _Print | None = None

    def poll(self) -> None:
        """Reads the files again if they have changed and are not just being written."""
        with self._lock:
            found = self._print()
            still, self._seen = found == self._seen, found
            # What could not be read is tried again: not every obstacle lies in the file itself.
            if still and (found != self._taken or self.problem):
                self._take(found)

    def reload(self) -> None:
        """Reads the files again now, and once more when they have stood still."""
        with self._lock:
            self._seen = self._print()
            self._take(self._seen)
            # One that was changed within a tick of a coarse file clock looks as it did.
            self._taken = None

    def _take(self, found: _Print) -> None:
        before = current, _ = self.current, self.problem
        self._taken = found
        try:
            current = self._read()
        except self._problems as error:
            self.problem = str(error)
        else:
            self.problem = ""

        def take() -> None:
            self.current = current

        try:
            if (current, self.problem) != before:
                self._on_reload(self.name, self.problem, take)
        finally:
            take()

    def _print(self) -> _Print:
        return tuple(map(_print_of, self.paths))


def _print_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
