"""`liquidation logs stats` and `report`: what a log holds, counted, as tables or as one page."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from liquidation import needs_extra
from liquidation.analysis.page import page
from liquidation.analysis.reader import Reader
from liquidation.analysis.search import Filter
from liquidation.analysis.summary import (
    BUCKETS,
    Report,
    Summary,
    counted_series,
    summary_record,
)
from liquidation.cli.logs import (
    entries,
    file_options,
    filter_options,
    log_paths,
    logs_argument,
    tell_broken,
)
from liquidation.cli.logs.tail import latency
from liquidation.cli.options import Cell, screen, write_json

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

# Buckets of time, and gaps, that are drawn; all are in the JSON.
_MAX_TIMES: Final = 48
_MAX_GAPS: Final = 20
_BAR: Final = 20
# What an empty name says.
_NAMELESS: Final = {"rpc": "(leases that ran out)"}
_COUNTED: Final = tuple((name, {"no_wrap": True}) for name in (">lines", ">refused", ">share"))


@click.command()
@file_options
@click.option(
    "--bucket",
    type=click.Choice(list(BUCKETS)),
    default="1h",
    show_default=True,
    help="How wide a bucket of time is.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=10_000),
    default=10,
    show_default=True,
    help="How many of each kind are shown; the rest stands together.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@filter_options
def stats(
    files: tuple[Path, ...],
    *,
    rotated: bool,
    bucket: str,
    top: int,
    as_json: bool,
    **filters: Any,
) -> None:
    """Count a decision log: by code, rule, caller and time, with latencies and lost lines.

    \b
    Examples:
      liquidation logs stats decisions.log --rotated
      liquidation logs stats decisions.log --since 7d --bucket 1d --json
    """
    reader = Reader(log_paths(files, rotated=rotated))
    wanted = Filter(**filters)
    summary = Summary(counted_series(bucket), None if wanted == Filter() else wanted.matches)
    for entry in reader:
        summary.add(entry.fields)
    record = summary_record(summary, top)
    if as_json:
        write_json(record | {"broken": reader.broken})
    else:
        _write_summary(screen(otherwise="; or use --json"), record)
    tell_broken(reader)


def _write_summary(on: "Screen", record: Mapping[str, Any]) -> None:
    _write_head(on, record)
    for key, name, title in (
        ("codes", "code", "Codes"),
        ("rules", "rule", "Rules that refused"),
        ("rpcs", "rpc", "Calls"),
        ("liquidators", "liquidator_id", "Liquidators"),
        ("accounts", "account_id", "Accounts"),
        ("workers", "worker", "Workers"),
    ):
        _write_counts(on, record[key], name, title)
    _write_times(on, record)
    if notes := [f"{row['event']} {row['lines']:,}" for row in record["notes"]["rows"]]:
        on.line(f"what processes said: {', '.join(notes)}", "dim")
    _write_lost(on, record)


def _write_head(on: "Screen", record: Mapping[str, Any]) -> None:
    took = record["latency_us"]
    head = [(f"{record['lines']:,} lines", "bold")]
    if record["lines"]:
        head.append((f"  {record['from']} to {record['until']}", "dim"))
    on.line(head)
    refused = f"{record['refused']:,} refused ({_percent(record['refused_share'])})"
    on.line(refused, "red" if record["refused"] else "")
    if record["sampled"]:
        told = "Accepted decisions are a sample: there were more, and a smaller share was refused."
        on.line(told, "yellow")
    if took["count"]:
        told = ", ".join(f"{name} {latency(took[name])}" for name in ("p50", "p90", "p99", "max"))
        within = f" (within {_percent(took['relative_error'])})"
        on.line(f"latency {told}" + (within if took["relative_error"] != "0" else ""))


def _write_counts(on: "Screen", counts: Mapping[str, Any], key: str, title: str) -> None:
    rows, others = counts["rows"], counts["others"]
    if not rows:
        return
    distinct = "" if counts["distinct"] is None else f" ({counts['distinct']:,})"
    lines = []
    for row in rows:
        name = f"{row[key]} {row.get('name', '')}".strip()
        if key == "code" and row[key] == 0:
            name = "accepted"
        lines.append(_row(name or _NAMELESS.get(key, "(none)"), row))
    if others["lines"]:
        lines.append(_row("others", others, "dim"))
    on.table((title + distinct, *_COUNTED), lines)
    if counts["may_lack"]:
        lack = f"Too many to count each: a count may lack up to {counts['may_lack']:,} lines."
        on.line(lack, "yellow")


def _write_times(on: "Screen", record: Mapping[str, Any]) -> None:
    times = record["times"][-_MAX_TIMES:]
    if not times:
        return
    left_out = len(record["times"]) - len(times)
    title = f"Each {record['bucket']}" + (f", the last {len(times)}" if left_out else "")
    largest = max(each["lines"] for each in times)
    rows = []
    for each in times:
        bar = ("█" * max(1, each["lines"] * _BAR // largest), "cyan")
        rows.append([*_row(each["from"].replace("T", " "), each), bar])
    on.table((title, *_COUNTED, ""), rows)


def _write_lost(on: "Screen", record: Mapping[str, Any]) -> None:
    lost = record["lost"]
    if not lost["missing"] and not lost["told_in_all"]:
        on.line(f"No line is missing, of {lost['processes']:,} processes.", "green")
    else:
        told = f"{lost['missing']:,} lines are missing; the log tells of {lost['told_in_all']:,}."
        on.line(told, "bold red")
        keys = ("process", "first", "last", "lines")
        on.table(keys, ([str(gap[key]) for key in keys] for gap in lost["gaps"][:_MAX_GAPS]))
        if lost["gaps_in_all"] > _MAX_GAPS:
            on.line(f"and {lost['gaps_in_all'] - _MAX_GAPS:,} more gaps", "dim")
    if lost["twice"]:
        on.line(f"{lost['twice']:,} lines are there twice.", "yellow")
    if lost["not_followed"]:
        told = f"{lost['not_followed']:,} lines were not looked at for gaps: too many processes."
        on.line(told, "yellow")
    if record["unlike"]:
        told = f"{record['unlike']:,} lines lack what a line of their event has."
        on.line(told, "yellow")


def _row(name: str, counts: Mapping[str, Any], style: str = "") -> list[Cell]:
    return [
        (name, style),
        (f"{counts['lines']:,}", style),
        (f"{counts['refused']:,}", style),
        (_percent(counts["refused_share"]), style),
    ]


def _percent(share: str) -> str:
    return f"{float(share):.1%}"


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
        click.echo(f"{output.name}: {told.all.lines:,} decisions of {told.lines:,} lines", err=True)


def _plotly_js() -> str:
    """The charting library, which not every installation has."""
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - the other commands need no charts
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_extra("a report", "report")) from error
    return str(get_plotlyjs())
