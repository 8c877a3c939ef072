"""`liquidation logs report`: a log as one page, with charts."""

from pathlib import Path
from typing import IO

import click

from liquidation import needs_extra
from liquidation.analysis.reader import Reader
from liquidation.analysis.report import Report
from liquidation.analysis.report_page import page
from liquidation.cli.logs.reading import entries, logs_argument

__all__ = ["report"]


@click.command(short_help="A log as one HTML page, with charts.")
@logs_argument
@click.option(
    "-o",
    "--output",
    type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    default="report.html",
    show_default=True,
    help='Where the page goes; "-" is stdout.',
)
def report(paths: tuple[Path, ...], output: IO[str]) -> None:
    """A log as one HTML page, with charts: for people who were not there.

    The page holds all it needs: it can be mailed, and loads nothing from anywhere. "-" is stdin.
    Files may be compressed with gzip, and come in any order.

    \b
    Example:
      liquidation logs report decisions.log.1.gz decisions.log -o report.html

    \b
    Exit status:
      0  the page is written
      1  a file cannot be read, or the page cannot be written
      2  the command was not used as it is meant to be
    """
    plotly_js = _plotly_js()
    told, reader = Report(), Reader(paths)
    for entry in entries(reader, paths):
        told.add(entry.fields)
    output.write(page(told, plotly_js, [path.name or "-" for path in paths], reader.broken))
    if output.name != "-":
        click.echo(f"{output.name}: {told.all.count:,} decisions of {told.lines:,} lines", err=True)


def _plotly_js() -> str:
    """The charting library, which not every installation has."""
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - the other commands need no charts
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_extra("a report", "report")) from error
    return str(get_plotlyjs())
