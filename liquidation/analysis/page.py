"""A report as one HTML page that holds all it needs: it loads nothing, from anywhere."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final

import orjson

from liquidation.analysis.charts import (
    Chart,
    charts,
    code_label,
    duration,
    look_of,
    shown,
    usdc,
)
from liquidation.analysis.summary import Report
from liquidation.rules.numbers import EXACT

_TITLE: Final = "Liquidation decisions"
# What the browser may load for the page: nothing but what stands in it.
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
# Charts that take the whole width.
_WIDE: Final = {"decisions", "latency"}
_MAX_GAPS: Final = 100


def page(report: Report, plotly_js: str, sources: Sequence[str], foreign: int = 0) -> str:
    """The page. `plotly_js` is the charting library, `sources` are the names of what was read.

    `foreign` is how many lines were none of the log's.
    """
    report.count()
    drawn = charts(report)
    own = files("liquidation.analysis")
    css = own.joinpath("page.css").read_text(encoding="utf-8")
    script = own.joinpath("page.js").read_text(encoding="utf-8")
    body = "\n".join(
        (
            _head(report, sources),
            _totals(report, foreign),
            _by_code(report),
            f'<div class="charts">{"".join(map(_chart, drawn))}</div>',
            _slowest(report),
            _completeness(report, foreign),
        )
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="figures">{_json(drawn)}</script>\n'
        f"<script>{plotly_js}</script>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _json(drawn: Iterable[Chart]) -> str:
    """The figures, in JSON that ends no script element."""
    text = orjson.dumps({chart.name: chart.figure for chart in drawn}).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _head(report: Report, sources: Sequence[str]) -> str:
    period = "No decision was found."
    if report.first:
        period = f"{_moment(report.first)} to {_moment(report.last)} UTC"
    read = ", ".join(map(shown, sources[:5])) + (" and more" if len(sources) > 5 else "")
    versions = ", ".join(shown(version) for version, _ in report.versions.most_common(5))
    rules = f", rules {versions}" if versions else ""
    return (
        f'<header><h1>{_TITLE}</h1><p>{period}</p><p class="soft">From {read}: '
        f"{report.lines:,} lines{rules}.</p>"
        f"{_sampled(report)}<noscript><p>The charts need scripts; the table under each has the same"
        " numbers.</p></noscript></header>"
    )


def _sampled(report: Report) -> str:
    if not report.samples:
        return ""
    shares = ", ".join(shown(share) for share, _ in report.samples.most_common(5))
    return (
        f'<p class="alarm">Only a share of the accepted decisions was logged ({shares}): all here'
        " is about what was logged, so shares of refusals are too high.</p>"
    )


def _moment(timestamp: str) -> str:
    return shown(timestamp[:19].replace("T", " "))


def _totals(report: Report, foreign: int) -> str:
    count, refused = report.all.lines, report.all.refused
    refused_notional = EXACT.subtract(report.codes.all.notional, report.accepted_notional)
    median, late = (duration(report.latencies.percentile(p)) for p in ("50", "99"))
    lost = report.numbers.missing
    cards = [
        ("Decisions", f"{count:,}", _processes(report), ""),
        ("Accepted", f"{count - refused:,}", _percent(count - refused, count), ""),
        ("Refused", f"{refused:,}", _percent(refused, count), ""),
        ("Claims granted", f"{report.changes['begin']:,}", _ended(report), ""),
        ("Notional accepted", usdc(report.accepted_notional), "USDC", ""),
        ("Notional refused", usdc(refused_notional), "USDC", ""),
        ("Latency, median", median, f"99 % within {late}", ""),
        ("Lines missing", f"{lost:,}", _told(report, foreign), "alarm" if lost else ""),
    ]
    return (
        '<dl class="totals">'
        + "".join(
            f'<div><dt>{title}</dt><dd class="value {style}">{value}</dd>'
            f'<dd class="soft">{note}</dd></div>'
            for title, value, note, style in cards
        )
        + "</dl>"
    )


def _processes(report: Report) -> str:
    count = report.numbers.processes
    return f"by {count:,} {'process' if count == 1 else 'processes'}"


def _ended(report: Report) -> str:
    ended = (("complete", "completed"), ("cancel", "cancelled"), ("expire", "expired"))
    return ", ".join(f"{report.changes[change]:,} {word}" for change, word in ended)


def _told(report: Report, foreign: int) -> str:
    if foreign:
        return f"{foreign:,} unreadable"
    return "see the end of the page" if report.numbers.missing else "the log is whole"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _by_code(report: Report) -> str:
    rows = []
    for name, count in report.codes.top(len(report.codes)):
        code, _, word = name.partition(" ")
        swatch = _swatch(*look_of(int(code)))
        rows.append(
            f'<tr><td class="fixed">{swatch}{code_label(int(code))}</td>'
            f'<td class="roomy">{shown(word)}</td>'
            f'<td class="number">{count.lines:,}</td>'
            f'<td class="number">{_percent(count.lines, report.all.lines)}</td>'
            f'<td class="number">{usdc(count.notional)}</td></tr>'
        )
    head = _header(("decisions", "share", "notional, USDC"), 0)
    head = f'<th>code</th><th class="roomy">name</th>{head}'
    return f"<section><h2>Outcomes</h2>{_rows(head, ''.join(rows))}</section>"


def _swatch(colour: str, pattern: str) -> str:
    striped = "swatch striped" if pattern else "swatch"
    return f'<span class="{striped}" style="background-color:{colour}"></span>'


def _legend(chart: Chart) -> str:
    entries = []
    for trace in chart.figure["data"]:
        marker = trace.get("line") or trace["marker"]
        pattern = marker.get("pattern", {}).get("shape", "")
        entries.append(f"<li>{_swatch(marker['color'], pattern)}{trace['name']}</li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _chart(chart: Chart) -> str:
    wide = "wide" if chart.name in _WIDE else ""
    body = "".join(f"<tr>{_cells(row, chart.texts)}</tr>" for row in chart.rows)
    return (
        f'<section class="{wide}"><h2>{chart.title}</h2><p class="soft">{chart.note}</p>'
        f"{_legend(chart)}"
        f'<div class="chart" id="{chart.name}" role="img" aria-label="{chart.title};'
        ' the table below has its numbers"></div>'
        f"<details><summary>The numbers as a table</summary>"
        f"{_rows(_header(chart.head, chart.texts), body)}</details></section>"
    )


def _slowest(report: Report) -> str:
    rows = [
        (
            duration(slow.latency_us), f"{slow.timestamp[:23].replace('T', ' ')}", slow.rpc,
            code_label(slow.code), slow.liquidator_id, slow.account_id, slow.decision_id,
        )
        for slow in report.slowest()
    ]  # fmt: skip
    head = ("latency", "time (UTC)", "call", "code", "liquidator", "account", "decision_id")
    body = "".join(
        f'<tr><td class="fixed">{shown(row[0])}</td><td class="fixed">{shown(row[1])}</td>'
        + "".join(f'<td class="id">{shown(each)}</td>' for each in row[2:])
        + "</tr>"
        for row in rows
    )
    table = _rows(_header(head, len(head)), body)
    return f'<section class="slowest"><h2>Slowest decisions</h2>{table}</section>'


def _completeness(report: Report, foreign: int) -> str:
    numbers = report.numbers
    facts = [
        ("Missing lines, numbers that no line of their process has", numbers.missing),
        ("Lines that a process dropped because its log could not take them", report.lost_in_all),
        ("Lines that were read twice", numbers.twice),
        ("Lines that are none of the log's", foreign),
        ("Faults, errors that are nobody's answer", report.notes.lines_of("fault")),
        ("Decisions that lack what a line of theirs has; they are not counted", report.unlike),
        ("Lines whose number could not be followed", numbers.not_followed),
    ]
    told = "".join(f"<li>{words}: {count:,}</li>" for words, count in facts if count)
    gaps = list(numbers.gaps())
    body = "".join(
        f"<tr>{_cells((process, f'{first:,}', f'{last:,}', f'{last - first + 1:,}'), 1)}</tr>"
        for process, first, last in gaps[:_MAX_GAPS]
    )
    table = _rows(_header(("process", "first missing", "last missing", "lines"), 1), body)
    summary = (
        f"<ul>{told}</ul>" if told else "<p>Every line from the first to the last is there.</p>"
    )
    return f"<section><h2>Is the log whole?</h2>{summary}{table if gaps else ''}</section>"


def _header(names: Sequence[str], texts: int) -> str:
    return "".join(
        f"<th>{escape(name)}</th>" if index < texts else f'<th class="number">{escape(name)}</th>'
        for index, name in enumerate(names)
    )


def _cells(row: Sequence[str], texts: int) -> str:
    return "".join(
        f'<td class="id">{shown(each)}</td>'
        if index < texts
        else f'<td class="number">{shown(each)}</td>'
        for index, each in enumerate(row)
    )


def _rows(head: str, body: str) -> str:
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="rows">{table}</div>'
