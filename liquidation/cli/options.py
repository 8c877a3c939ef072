"""What several commands share: options and their types, and what is printed.

A user never sees a traceback for what went wrong outside of the program: one line on standard
error says what and where. Files are read when they are needed, and not before.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import reduce
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click
import orjson

from liquidation import needs_extra
from liquidation.config.settings import load_policy
from liquidation.rules.numbers import MAX_INT64, plain
from liquidation.rules.policy import Policy, PolicyError

if TYPE_CHECKING:
    # It needs rich, which not every installation has.
    from liquidation.cli.table import Bar, Screen

# A text and its style; a cell of a table is one, a plain text, or several in a row.
Piece = tuple[str, str]
Cell = str | Piece | list[Piece]
# A column's name, which begins with ">" if it holds numbers, and how rich is to lay it out.
Column = str | tuple[str, dict[str, Any]]

_C = TypeVar("_C", bound=Callable[..., Any])

_INT64_DIGITS: Final = 19
# Bytes from which on input is long, and worth a progress bar.
_LONG: Final = 1024 * 1024
# Rows that are drawn as one table, and so held in memory.
PAGE: Final = 500
# Characters below which a screen is narrow.
NARROW: Final = 80
FILE: Final = click.Path(path_type=Path)


# Types of options and arguments.


def number(text: str) -> int:
    """An id or a token: a whole number above zero that an int64 holds."""
    # Python reads no number of thousands of digits, and says so with an error.
    digits = text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS
    found = int(text) if digits else 0
    if not 0 < found <= MAX_INT64:
        raise click.BadParameter(f"{text[:40]!r} is not a whole number from 1 to {MAX_INT64}")
    return found


def text(given: str) -> str:
    """A text that can be sent: a terminal of another encoding gives bytes that are none."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{given!r} is not UTF-8 text") from None
    return given


# Options.


def with_options(options: Iterable[Callable[[Any], Any]]) -> Callable[[_C], _C]:
    """Adds several options to a command, in this order."""
    return lambda command: reduce(lambda so_far, add: add(so_far), reversed([*options]), command)


def format_option(*for_programs: str, help_: str) -> Callable[[_C], _C]:
    """`--format`: a table for people, which is the default, or one of the forms for programs."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", *for_programs]),
        default="table",
        show_default=True,
        help=help_,
    )


rules_option: Final = click.option(
    "--rules",
    type=FILE,
    help="The rules.toml to run here, without a server.  [default: the built-in rules]",
)


def policy_of(path: Path | None) -> Policy:
    """The rules in the file at `path`, or the built-in ones; a bad file ends the command."""
    with reported(path, PolicyError):
        return load_policy(path)


# What is printed.


@contextmanager
def reported(what: object, *kinds: type[Exception]) -> Iterator[None]:
    """Ends the command with one line, about `what`, if an error of these kinds is raised."""
    try:
        yield
    except kinds as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or error
        raise click.ClickException(printable(f"{what}: {problem}")) from error


def screen(what: str = "a table", otherwise: str = "; or choose another --format") -> "Screen":
    """What draws tables; without the extra `cli` the command ends with one line that says so."""
    try:
        from liquidation.cli.table import Screen  # noqa: PLC0415 - it needs rich
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_extra(what, "cli") + otherwise) from error
    return Screen()


def progress_bar(size: int) -> "Bar | None":
    """A bar for reading so many bytes, if they are many and somebody looks at standard error."""
    if size < _LONG or not sys.stderr.isatty():
        return None
    try:
        from liquidation.cli.table import Bar  # noqa: PLC0415 - it needs rich
    except ModuleNotFoundError:
        return None
    return Bar(size)


def size_of(file: BinaryIO) -> int:
    """Bytes of a regular file; 0 for what has no size, such as a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, UnsupportedOperation):
        return 0


def write_json(record: Any, option: int = orjson.OPT_INDENT_2) -> None:
    """A JSON document on standard output."""
    click.echo(orjson.dumps(record, option=option))


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    columns = tuple(columns)
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def printable(text: str) -> str:
    """`text` without control characters, which could draw on the user's screen."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def moment(time: datetime) -> str:
    """A time as people read it, to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def plainly(value: Any) -> str:
    """A number in plain decimals; "" for None."""
    return "" if value is None else plain(value)
