"""What the commands on the log share: which files, which lines, and what could not be read."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from liquidation.analysis.reader import Broken, Filter, Reader, parse_moment, with_rotated
from liquidation.cli.texts import Number, Utf8, printable
from liquidation.rules.numbers import parse_decimal

__all__ = [
    "file_options",
    "filter_options",
    "log_paths",
    "tell_broken",
]

_F = TypeVar("_F", bound=Callable[..., Any])

_US_OF_MS: Final = 1000


class Moment(click.ParamType[datetime]):
    """A time, or how long ago it was."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        moment = parse_moment(str(value), datetime.now(UTC))
        if moment is None:
            self.fail(
                f"{value!r:.60} is neither a time nor a span such as 30m, 2h or 7d", param, ctx
            )
        return moment


class Milliseconds(click.ParamType[int]):
    """A span in milliseconds, which may have decimals; held in microseconds."""

    name = "ms"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        span = parse_decimal(str(value))
        if span is None or span < Decimal(0):
            self.fail(f"{value!r:.60} is no number of milliseconds", param, ctx)
        return int(span * _US_OF_MS)


_FILTERS: Final = (
    click.option("--code", "codes", type=int, multiple=True, help="This code; repeatable."),
    click.option("--rule", type=Utf8(), help="Refused by this rule."),
    click.option("--account", "account_id", type=Utf8(), help="On this account."),
    click.option("--liquidator", "liquidator_id", type=Utf8(), help="Asked by this liquidator."),
    click.option("--liquidation-id", type=Number(), help="On this liquidation."),
    click.option("--since", type=Moment(), help="From then on: RFC 3339, or 30m, 2h, 7d ago."),
    click.option("--until", type=Moment(), help="Before then, likewise."),
    click.option(
        "--outcome", type=click.Choice(["accepted", "refused"]), help="With this outcome."
    ),
    click.option(
        "--min-latency",
        "min_latency_us",
        metavar="MS",
        type=Milliseconds(),
        help="Took at least so many milliseconds.",
    ),
)


def filter_options(command: _F) -> Callable[..., Any]:
    """Adds the options that say which lines are wanted; the command gets them as `wanted`."""

    @wraps(command)
    def filtered(
        *args: Any,
        codes: tuple[int, ...],
        rule: str | None,
        account_id: str | None,
        liquidator_id: str | None,
        liquidation_id: int | None,
        since: datetime | None,
        until: datetime | None,
        outcome: str | None,
        min_latency_us: int | None,
        **others: Any,
    ) -> Any:
        wanted = Filter(
            frozenset(codes),
            rule,
            account_id,
            liquidator_id,
            liquidation_id,
            since,
            until,
            outcome,
            min_latency_us,
        )
        return command(*args, wanted=wanted, **others)

    for option in reversed(_FILTERS):
        option(filtered)
    return filtered


def file_options(command: _F) -> _F:
    """Adds the files to read, as `files`, and whether what was rotated away is read too."""
    command = click.option(
        "--rotated",
        is_flag=True,
        help="Also FILE.1, FILE.2.gz, FILE-20261122 and so on, oldest first.",
    )(command)
    return click.argument(
        "files",
        metavar="[FILE]...",
        nargs=-1,
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    )(command)


def log_paths(files: tuple[Path, ...], *, rotated: bool) -> list[Path]:
    """All files to read; none is standard input, which has to come from somewhere."""
    if not files and sys.stdin.isatty():
        raise click.UsageError("name a FILE, or give the log on standard input")
    if not rotated:
        return list(files)
    if not files or Path("-") in files:
        raise click.UsageError("--rotated needs the log's FILE")
    return [path for file in files for path in with_rotated(file)]


def tell_broken(reader: Reader) -> None:
    """Says on standard error which lines were none of the log's."""
    if not reader.broken:
        return
    lines = "1 line was" if reader.broken == 1 else f"{reader.broken:,} lines were"
    click.echo(f"{lines} passed over:", err=True)
    for each in reader.first_broken:
        click.echo(f"  {_place(each)} {each.problem}", err=True)
    if reader.broken > len(reader.first_broken):
        click.echo(f"  and {reader.broken - len(reader.first_broken):,} more", err=True)


def _place(broken: Broken) -> str:
    return printable(broken.source.replace("-:", "standard input:", 1)) + ":"
