"""What is drawn of a log on a screen; needs rich."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from liquidation.analysis.reader import Entry
from liquidation.cli.drawing import a_console, a_table, cell
from liquidation.cli.logs.wording import latency, pieces

__all__ = ["line_writer", "write_line", "write_summary"]

# Buckets of time, and gaps, that are drawn; all are in the JSON.
_MAX_TIMES: Final = 48
_MAX_GAPS: Final = 20
_BAR: Final = 20
# Characters from which on there is room for dates; how far in a line goes on; the least width.
_FOR_DATES: Final = 120
_FURTHER: Final = "    "
_LEAST: Final = 20

# What an empty name says.
_NAMELESS: Final = {"rpc": "(leases that ran out)"}


def line_writer() -> Callable[[Entry], None]:
    """What writes a line on the screen, in colour."""
    console = a_console()

    def write(entry: Entry) -> None:
        write_line(console, entry)

    return write


def write_line(console: Console, entry: Entry, indent: str = "") -> None:
    """One line of the log; what has no room in the width stands further in."""
    told = pieces(entry.fields, short=console.width < _FOR_DATES)
    text = Text(" ").join(Text(piece, style) for piece, style in told)
    further = indent + _FURTHER
    first, *others = text.wrap(console, max(console.width - len(further), _LEAST))
    for at, line in ((indent, first), *((further, other) for other in others)):
        line.rstrip()
        console.print(Text(at) + line, soft_wrap=True)


def write_summary(record: Mapping[str, Any]) -> None:
    """A summary, table by table."""
    console = a_console()
    _write_head(console, record)
    for key, name, title in (
        ("codes", "code", "Codes"),
        ("rules", "rule", "Rules that refused"),
        ("rpcs", "rpc", "Calls"),
        ("liquidators", "liquidator_id", "Liquidators"),
        ("accounts", "account_id", "Accounts"),
        ("workers", "worker", "Workers"),
    ):
        _write_counts(console, record[key], name, title)
    _write_times(console, record)
    if notes := [f"{row['event']} {row['lines']:,}" for row in record["notes"]["rows"]]:
        console.print(cell(f"what processes said: {', '.join(notes)}", "dim"))
    _write_lost(console, record)


def _write_head(console: Console, record: Mapping[str, Any]) -> None:
    took = record["latency_us"]
    console.print(
        cell(f"{record['lines']:,} lines", "bold").append(
            f"  {record['from']} to {record['until']}" if record["lines"] else "", "dim"
        )
    )
    refused = f"{record['refused']:,} refused ({_percent(record['refused_share'])})"
    console.print(cell(refused, "red" if record["refused"] else ""))
    if record["sampled"]:
        told = "Accepted decisions are a sample: there were more, and a smaller share was refused."
        console.print(cell(told, "yellow"))
    if took["count"]:
        told = ", ".join(f"{name} {latency(took[name])}" for name in ("p50", "p90", "p99", "max"))
        within = f" (within {_percent(took['relative_error'])})"
        console.print(cell(f"latency {told}" + (within if took["relative_error"] != "0" else "")))


def _write_counts(console: Console, counts: Mapping[str, Any], key: str, title: str) -> None:
    rows, others = counts["rows"], counts["others"]
    if not rows:
        return
    distinct = "" if counts["distinct"] is None else f" ({counts['distinct']:,})"
    table = _counted_table(title + distinct)
    for row in rows:
        name = f"{row[key]} {row.get('name', '')}".strip()
        if key == "code" and row[key] == 0:
            name = "accepted"
        _add_row(table, name or _NAMELESS.get(key, "(none)"), row)
    if others["lines"]:
        _add_row(table, "others", others, "dim")
    console.print(table)
    if counts["may_lack"]:
        lack = f"Too many to count each: a count may lack up to {counts['may_lack']:,} lines."
        console.print(cell(lack, "yellow"))


def _write_times(console: Console, record: Mapping[str, Any]) -> None:
    times = record["times"][-_MAX_TIMES:]
    if not times:
        return
    left_out = len(record["times"]) - len(times)
    title = f"Each {record['bucket']}" + (f", the last {len(times)}" if left_out else "")
    table = _counted_table(title)
    table.add_column("")
    largest = max(each["lines"] for each in times)
    for each in times:
        bar = "█" * max(1, each["lines"] * _BAR // largest)
        _add_row(table, each["from"].replace("T", " "), each, bar=bar)
    console.print(table)


def _write_lost(console: Console, record: Mapping[str, Any]) -> None:
    lost = record["lost"]
    if not lost["missing"] and not lost["told_in_all"]:
        console.print(cell(f"No line is missing, of {lost['processes']:,} processes.", "green"))
    else:
        told = f"{lost['missing']:,} lines are missing; the log tells of {lost['told_in_all']:,}."
        console.print(cell(told, "bold red"))
        table = a_table("process", "first", "last", "lines")
        for gap in lost["gaps"][:_MAX_GAPS]:
            table.add_row(*(cell(str(gap[key])) for key in ("process", "first", "last", "lines")))
        if lost["gaps"]:
            console.print(table)
        if lost["gaps_in_all"] > _MAX_GAPS:
            console.print(cell(f"and {lost['gaps_in_all'] - _MAX_GAPS:,} more gaps", "dim"))
    if lost["twice"]:
        console.print(cell(f"{lost['twice']:,} lines are there twice.", "yellow"))
    if lost["not_followed"]:
        told = f"{lost['not_followed']:,} lines were not looked at for gaps: too many processes."
        console.print(cell(told, "yellow"))
    if record["unlike"]:
        told = f"{record['unlike']:,} lines lack what a line of their event has."
        console.print(cell(told, "yellow"))


def _counted_table(title: str) -> Table:
    table = a_table(title, "lines", "refused", "share")
    table.columns[0].ratio = None
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return table


def _add_row(
    table: Table, name: str, counts: Mapping[str, Any], style: str = "", bar: str = ""
) -> None:
    cells = [
        cell(name, style),
        cell(f"{counts['lines']:,}", style),
        cell(f"{counts['refused']:,}", style),
        cell(_percent(counts["refused_share"]), style),
    ]
    table.add_row(*cells, *([cell(bar, "cyan")] if bar else []))


def _percent(share: str) -> str:
    return f"{float(share):.1%}"
