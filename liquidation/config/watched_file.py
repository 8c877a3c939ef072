"""Files that are read again when they change: what was last sound stays in force.

A change is taken up once the file has stood still from one look to the next, so that one that is
being written is not read by half. It is the file's identity, size and times that are compared, and
links are followed, so a file that is renamed into place and a ConfigMap that is swapped are seen.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["FaultTold", "Reload", "Reloadable", "WatchedFile", "watch"]

_T = TypeVar("_T")
_Print = tuple[tuple[int, ...] | None, ...]

# How often files are looked at, in seconds.
_LOOK_S: Final = 0.25


class Reload(Protocol):
    """Is told what came of reading a file again; `problem` is "" where it was taken."""

    def __call__(self, name: str, problem: str, /) -> None: ...


class Reloadable(Protocol):
    """Something that files are read for, whatever is in them."""

    name: str
    problem: str
    paths: tuple[Path, ...]

    def look(self) -> None: ...
    def reload(self) -> None: ...


FaultTold = Callable[[Exception], None]


class WatchedFile(Generic[_T]):
    """What files say, as they were when they were last sound."""

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        read: Callable[[], _T],
        problems: tuple[type[Exception], ...],
        in_force: _T,
        told: Reload,
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
        self._told = told
        # What was read last, and what was seen at the last look.
        self._taken: _Print | None = None
        self._seen: _Print | None = None

    def look(self) -> None:
        """Reads the files again where they have changed and are not just being written."""
        found = self._print()
        still, self._seen = found == self._seen, found
        # What could not be read is tried again, since not every obstacle lies in the file itself.
        if still and (found != self._taken or self.problem):
            self._take(found)

    def reload(self) -> None:
        """Reads the files again now, and once more when they have stood still."""
        self._seen = self._print()
        self._take(self._seen)
        # One that was changed within a tick of a coarse file clock looks as it did.
        self._taken = None

    def _take(self, found: _Print) -> None:
        before = self.current, self.problem
        self._taken = found
        try:
            self.current = self._read()
        except self._problems as error:
            self.problem = str(error)
        else:
            self.problem = ""
        if (self.current, self.problem) != before:
            self._told(self.name, self.problem)

    def _print(self) -> _Print:
        return tuple(map(_print_of, self.paths))


def _print_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


async def watch(files: Sequence[Reloadable], fault: FaultTold) -> None:
    """Looks at all files again and again, until it is cancelled."""
    while files:
        await asyncio.sleep(_LOOK_S)
        for each in files:
            try:
                each.look()
            except Exception as error:  # noqa: BLE001 - the watch goes on, and the fault is told
                fault(error)
