"""Reading logs for a command that takes them whole, with a progress bar where that takes long."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from liquidation.analysis.reader import Entry, Reader
from liquidation.cli.options import screen

__all__ = ["entries", "is_stream", "logs_argument"]

# Bytes from which on logs are long, and worth a progress bar.
_LONG: Final = 1024 * 1024

logs_argument: Final = click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path),
)


def is_stream(path: Path) -> bool:
    """Whether a path is standard input, or else something that can be read only once."""
    return str(path) == "-" or not path.is_file()


def entries(reader: Reader, paths: Sequence[Path]) -> Iterator[Entry]:
    """The entries of `reader`; where they are many, a bar on a terminal shows how far it is."""
    bar = _bar(paths)
    if bar is None:
        yield from reader
        return
    with bar:
        yield from _followed(reader, bar)


def _followed(reader: Reader, bar: Any) -> Iterator[Entry]:
    at_hand: list[Entry] = []

    def lines() -> Iterator[bytes]:
        for entry in reader:
            at_hand[:] = (entry,)
            yield entry.raw + b"\n"

    for _ in bar.read(lines()):
        yield at_hand[0]


def _bar(paths: Sequence[Path]) -> Any:
    """A bar over the bytes of all files; of compressed ones nobody knows how many there are."""
    if not sys.stderr.isatty() or any(is_stream(path) or path.suffix == ".gz" for path in paths):
        return None
    size = sum(path.stat().st_size for path in paths)
    if size < _LONG:
        return None
    try:
        return screen().Bar(size)
    except click.ClickException:
        return None
