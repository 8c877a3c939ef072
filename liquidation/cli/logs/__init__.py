"""`liquidation logs`: looking into the decision log; and what its commands share."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from liquidation.analysis.reader import Entry, Reader, with_rotated
from liquidation.analysis.search import parse_moment
from liquidation.cli.options import number, printable, progress_bar, text, with_options
from liquidation.rules.numbers import parse_decimal

_COMMANDS: Final = {
    "tail": "tail",
    "stats": "stats",
    "explain": "explain",
    "replay": "replay",
    "report": "stats",
}
_US_OF_MS: Final = 1000


class _Logs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"liquidation.cli.logs.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Logs)
def logs() -> None:
    """Look into the decision log: what was decided, why, and what other rules would change."""


def _moment(given: str) -> datetime:
    moment = parse_moment(given, datetime.now(UTC))
    if moment is None:
        problem = "is neither a time nor a span such as 30m, 2h or 7d"
        raise click.BadParameter(f"{given!r:.60} {problem}")
    return moment


def _milliseconds(given: str) -> int:
    """A span in milliseconds, which may have decimals; in microseconds."""
    span = parse_decimal(given)
    if span is None or span < Decimal(0):
        raise click.BadParameter(f"{given!r:.60} is no number of milliseconds")
    return int(span * _US_OF_MS)


# The command gets them as the fields of a `Filter`.
filter_options: Final = with_options(
    (
        click.option("--code", "codes", type=int, multiple=True, help="This code; repeatable."),
        click.option("--rule", type=text, help="Refused by this rule."),
        click.option("--account", "account_id", type=text, help="On this account."),
        click.option("--liquidator", "liquidator_id", type=text, help="Asked by this liquidator."),
        click.option("--liquidation-id", type=number, help="On this liquidation."),
        click.option(
            "--since",
            metavar="TIME",
            type=_moment,
            help="From then on: RFC 3339, or 30m, 2h, 7d ago.",
        ),
        click.option("--until", metavar="TIME", type=_moment, help="Before then, likewise."),
        click.option(
            "--outcome", type=click.Choice(["accepted", "refused"]), help="With this outcome."
        ),
        click.option(
            "--min-latency",
            "min_latency_us",
            metavar="MS",
            type=_milliseconds,
            help="Took at least so many milliseconds.",
        ),
    )
)

file_options: Final = with_options(
    (
        click.argument(
            "files",
            metavar="[FILE]...",
            nargs=-1,
            type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        ),
        click.option(
            "--rotated",
            is_flag=True,
            help="Also FILE.1, FILE.2.gz, FILE-20261122 and so on, oldest first.",
        ),
    )
)
logs_argument: Final = click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path),
)


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
    """Prints on standard error which lines were none of the log's."""
    if not reader.broken:
        return
    lines = "1 line was" if reader.broken == 1 else f"{reader.broken:,} lines were"
    click.echo(f"{lines} passed over:", err=True)
    for each in reader.first_broken:
        click.echo(f"  {_source(each.source)} {each.problem}", err=True)
    if reader.broken > len(reader.first_broken):
        click.echo(f"  and {reader.broken - len(reader.first_broken):,} more", err=True)


def _source(source: str) -> str:
    return printable(source.replace("-:", "standard input:", 1)) + ":"


def is_stream(path: Path) -> bool:
    """Whether a path is standard input, or else something that can be read only once."""
    return str(path) == "-" or not path.is_file()


def entries(reader: Reader, paths: Sequence[Path]) -> Iterator[Entry]:
    """The entries of `reader`; if they are many, a bar on a terminal shows how far it is."""
    # Of compressed files nobody knows how many bytes there are.
    unknown = any(is_stream(path) or path.suffix == ".gz" for path in paths)
    bar = None if unknown else progress_bar(sum(path.stat().st_size for path in paths))
    if bar is None:
        yield from reader
        return
    with bar:
        for entry in reader:
            bar.advance(len(entry.raw) + 1)
            yield entry
