"""`liquidation logs tail`: the lines of a log, for people or, untouched, for programs."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from liquidation.analysis.follow import follow as followed
from liquidation.analysis.reader import Entry, Filter, Reader
from liquidation.cli.logs.options import file_options, filter_options, log_paths, tell_broken
from liquidation.cli.logs.wording import pieces

__all__ = ["tail"]

# How long a file that does not grow is left alone, in seconds.
_POLL_S: Final = 0.2
# Lines that are there before what is followed.
_BEFORE: Final = 10

_Write = Callable[[Entry], None]


@click.command()
@file_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, also when rotated.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    help="Only the last so many that fit.  [default: all; 10 with --follow]",
)
@click.option("--raw", is_flag=True, help="The lines as they are, for programs.")
@filter_options
def tail(
    files: tuple[Path, ...],
    *,
    rotated: bool,
    follow: bool,
    lines: int | None,
    raw: bool,
    wanted: Filter,
) -> None:
    """Show lines of the decision log in FILEs, plain or compressed, or of standard input.

    \b
    Examples:
      liquidation logs tail decisions.log --follow
      liquidation logs tail decisions.log --rotated --code -1201 --since 2h
      liquidation logs tail decisions.log --account account-1 --raw | jq .request
    """
    paths = log_paths(files, rotated=rotated)
    if follow and (not paths or Path("-") in paths):
        raise click.UsageError("--follow needs a FILE; standard input is read to its end anyway")
    if follow and any(path.suffix == ".gz" for path in paths):
        raise click.UsageError("--follow is for a log that grows; a .gz file does not")
    reader = Reader(paths)
    write = _writer(raw=raw, at_once=follow or not paths)
    try:
        if follow:
            _follow(paths, reader, wanted, _BEFORE if lines is None else lines, write)
        else:
            _show(_fitting(reader, wanted), lines, write)
    except KeyboardInterrupt:
        # That is how following ends.
        pass
    finally:
        sys.stdout.flush()
        tell_broken(reader)


def _fitting(reader: Reader, wanted: Filter) -> Iterator[Entry]:
    return (entry for entry in reader if wanted.matches(entry.fields))


def _show(entries: Iterator[Entry], lines: int | None, write: _Write) -> None:
    for entry in entries if lines is None else deque(entries, maxlen=lines):
        write(entry)


def _follow(paths: list[Path], reader: Reader, wanted: Filter, before: int, write: _Write) -> None:
    """Shows the last lines that are there, and from then on every line."""
    last: deque[Entry] = deque(maxlen=before)
    caught_up = False

    def wait() -> None:
        nonlocal caught_up
        caught_up = True
        while last:
            write(last.popleft())
        time.sleep(_POLL_S)

    for entry in followed(paths, wait, reader.tell_broken):
        if wanted.matches(entry.fields):
            if caught_up:
                write(entry)
            else:
                last.append(entry)


def _writer(*, raw: bool, at_once: bool) -> _Write:
    """What writes a line; `at_once` where somebody waits for each."""
    if raw:
        out = sys.stdout.buffer

        def write_raw(entry: Entry) -> None:
            out.write(entry.raw + b"\n")
            if at_once:
                out.flush()

        return write_raw
    if sys.stdout.isatty():
        try:
            from liquidation.cli.logs.screen import line_writer  # noqa: PLC0415 - needs rich
        except ModuleNotFoundError:
            pass
        else:
            return line_writer()

    def write(entry: Entry) -> None:
        sys.stdout.write(" ".join(text for text, _ in pieces(entry.fields)) + "\n")
        if at_once:
            sys.stdout.flush()

    return write
