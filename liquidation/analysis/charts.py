"""The charts of a report: each as a figure of plotly.js and as a table of the same numbers.

And how a report names and colours things.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from html import escape
from typing import Any, Final

from liquidation.analysis.counters import DAY_US, EPOCH, SECOND_US, TimeSeries, TopK
from liquidation.analysis.summary import Report

# Bars of the most active; rows of the table below have more.
_BARS: Final = 10
_ROWS: Final = 50
_LONG_LABEL: Final = 16

# The colours are Paul Tol's "bright" scheme, which colour-blind people tell apart; what shares a
# colour differs by its pattern.
ACCEPTED: Final = "#4477AA"
REFUSED: Final = "#EE6677"
_GREY: Final = "#BBBBBB"
# What a code means in a few words, its colour, and its pattern: "", "/" or "x".
_CODES: Final = {
    0: ("accepted", ACCEPTED, ""),
    -1000: ("unknown error", _GREY, "x"),
    -1003: ("too many calls", _GREY, "/"),
    -1004: ("unknown field", "#AA3377", "/"),
    -1005: ("wrong format", "#AA3377", ""),
    -1007: ("duplicate request", "#66CCEE", "/"),
    -1011: ("store not reached", _GREY, ""),
    -1012: ("in process", "#66CCEE", ""),
    -1101: ("margin too small", "#228833", ""),
    -1103: ("limit price", "#228833", "/"),
    -1201: ("ratio too small", REFUSED, ""),
    -1202: ("not found, or margin enough", "#CCBB44", ""),
}
_OTHER: Final = ("", _GREY, "x")

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, the words above it, and its numbers; a text of a row is shown as it is."""

    name: str
    title: str
    note: str
    figure: Figure
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    texts: int = 1  # how many columns of a row, from the left, are no numbers


def charts(report: Report) -> list[Chart]:
    """All charts of a report, in the order in which they are shown."""
    return [
        _decisions(report),
        _share(report),
        _notional(report),
        _most_active("liquidators", report.liquidators),
        _most_active("accounts", report.accounts),
        _latency(report),
    ]


def _span(width_us: int) -> str:
    """The width of a bucket in words."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = width_us // (size * SECOND_US)
        if count:
            return unit if count == 1 else f"{count:,} {unit}s"
    return f"{width_us // 1000} milliseconds"


def _decisions(report: Report) -> Chart:
    buckets = list(report.series.buckets())
    counts: Counter[int] = Counter()
    for _, bucket in buckets:
        counts.update(bucket.codes)
    # Accepted first, then the codes by how often they were given.
    codes = sorted(counts, key=lambda code: (code != 0, -counts[code], code))
    width = report.series.width_us
    traces = [
        _bars(
            report.series,
            code_label(code),
            [bucket.codes[code] for _, bucket in buckets],
            look_of(code),
        )
        for code in codes
    ]
    return Chart(
        "decisions",
        "Decisions over time, by code",
        f"Decisions in each {_span(width)}.",
        {"data": traces, "layout": _over_time(report.series, "decisions", stacked=True)},
        ("begin (UTC)", *map(code_label, codes), "in all"),
        [
            (
                utc(begin, width),
                *(f"{bucket.codes[code]:,}" for code in codes),
                f"{bucket.lines:,}",
            )
            for begin, bucket in buckets
        ],
    )


def _share(report: Report) -> Chart:
    width = report.series.width_us
    buckets = list(report.series.buckets())
    shares = [
        100 * bucket.refused_lines / bucket.lines if bucket.lines else None for _, bucket in buckets
    ]
    overall = 100 * report.all.refused / max(report.all.lines, 1)
    middles = [_plotted(begin + width // 2) for begin, _ in buckets]
    ends = [_plotted(buckets[0][0]), _plotted(buckets[-1][0] + width)] if buckets else []
    line = {"color": REFUSED, "width": 2}
    traces = [
        {"type": "scatter", "mode": "lines+markers", "name": "refused", "x": middles, "y": shares,
         "line": line, "marker": {"size": 5}, "connectgaps": False,
         "hovertemplate": "%{y:.1f} %<extra>refused</extra>"},
        {"type": "scatter", "mode": "lines", "name": f"whole period: {overall:.1f} %", "x": ends,
         "y": [overall] * len(ends), "line": {"color": ACCEPTED, "dash": "dash", "width": 2},
         "hoverinfo": "skip"},
    ]  # fmt: skip
    layout = _over_time(report.series, "share refused")
    layout["yaxis"] |= {"range": [-2, 102], "ticksuffix": " %"}
    rows = [
        (
            utc(begin, width),
            f"{bucket.lines:,}",
            f"{bucket.refused_lines:,}",
            "" if share is None else f"{share:.1f} %",
        )
        for (begin, bucket), share in zip(buckets, shares, strict=True)
    ]
    return Chart(
        "share",
        "Share of refusals over time",
        f"Refused decisions in each {_span(width)}, in percent of all in it.",
        {"data": traces, "layout": layout},
        ("begin (UTC)", "decisions", "refused", "share"),
        rows,
    )


def _notional(report: Report) -> Chart:
    buckets = list(report.series.buckets())
    accepted = [float(bucket.accepted) for _, bucket in buckets]
    refused = [float(bucket.refused) for _, bucket in buckets]
    traces = [
        _bars(report.series, "accepted", accepted, (ACCEPTED, "")),
        _bars(report.series, "refused", refused, (REFUSED, "")),
    ]
    for trace in traces:
        trace["hovertemplate"] = "%{y:,.2f} USDC<extra>%{fullData.name}</extra>"
    return Chart(
        "notional",
        "Notional over time",
        "USDC of what was asked for: the whole liquidation on tier LOW, the requested symbols on"
        f" tier HIGH; in each {_span(report.series.width_us)}.",
        {"data": traces, "layout": _over_time(report.series, "notional, USDC", stacked=True)},
        ("begin (UTC)", "accepted, USDC", "refused, USDC"),
        [
            (utc(begin, report.series.width_us), usdc(bucket.accepted), usdc(bucket.refused))
            for begin, bucket in buckets
        ],
    )


def _latency(report: Report) -> Chart:
    ranges = report.latencies.ranges()
    labels = [
        f"{duration(low)} – {duration(high)}" if low else f"under {duration(high)}"
        for low, high, _ in ranges
    ]
    counts = [count for *_, count in ranges]
    percentiles = ", ".join(
        f"{percent} % within {duration(report.latencies.percentile(percent))}"
        for percent in ("50", "90", "99", "99.9")
    )
    trace = {
        "type": "bar", "name": "decisions", "x": labels, "y": counts,
        "marker": {"color": ACCEPTED},
        "hovertemplate": "%{y:,} decisions<br>%{x}<extra></extra>",
    }  # fmt: skip
    layout = _layout("decisions")
    layout["xaxis"] = {"title": {"text": "latency"}, "type": "category", "automargin": True}
    largest = duration(report.latencies.largest)
    return Chart(
        "latency",
        "Latency",
        f"From the begin of the call to its log line: {percentiles}; the slowest took {largest}.",
        {"data": [trace], "layout": layout},
        ("latency", "decisions"),
        [(label, f"{count:,}") for label, count in zip(labels, counts, strict=True)],
    )


def _most_active(kind: str, names: TopK) -> Chart:
    top = [(name, count) for name, count in names.top(_ROWS + 1) if name][:_ROWS]
    bars = top[:_BARS]
    places = list(range(len(bars)))
    hovered = [shown(name) for name, _ in bars]
    traces = [
        {
            "type": "bar", "orientation": "h", "name": word, "y": places, "x": counts,
            "customdata": hovered, "marker": {"color": colour},
            "hovertemplate": f"%{{customdata}}<br>%{{x:,}} {word}<extra></extra>",
        }
        for word, colour, counts in (
            ("accepted", ACCEPTED, [count.lines - count.refused for _, count in bars]),
            ("refused", REFUSED, [count.refused for _, count in bars]),
        )
    ]  # fmt: skip
    layout = _layout("")
    layout["barmode"] = "stack"
    layout["xaxis"] = {"title": {"text": "decisions"}, "tickformat": ",~s", "rangemode": "tozero"}
    layout["yaxis"] = {
        "tickmode": "array", "tickvals": places, "ticktext": [_label(name) for name, _ in bars],
        "autorange": "reversed", "automargin": True,
    }  # fmt: skip
    note = "Those with the most decisions."
    if names.may_lack:
        note += (
            f" More names than can be counted at once: up to {names.may_lack:,} of one may lack."
        )
    return Chart(
        kind,
        f"Most active {kind}",
        note,
        {"data": traces, "layout": layout},
        (kind.removesuffix("s"), "decisions", "refused", "share refused", "notional, USDC"),
        [
            (
                name,
                f"{count.lines:,}",
                f"{count.refused:,}",
                f"{100 * count.refused / count.lines:.1f} %",
                usdc(count.notional),
            )
            for name, count in top
        ],
    )


def _label(name: str) -> str:
    """An id where there is little room: its two ends."""
    return shown(name if len(name) <= _LONG_LABEL else f"{name[:8]}…{name[-6:]}")


def _bars(series: TimeSeries, name: str, values: Iterable[float], look: tuple[str, str]) -> Figure:
    colour, pattern = look
    return {
        "type": "bar",
        "name": name,
        "x": [_plotted(begin) for begin, _ in series.buckets()],
        "y": list(values),
        "offset": 0,
        "width": series.width_us / 1000,
        "marker": {"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}},
        "hovertemplate": "%{y:,}<extra>%{fullData.name}</extra>",
    }


def _over_time(series: TimeSeries, unit: str, *, stacked: bool = False) -> Figure:
    layout = _layout(unit)
    layout["hovermode"] = "x unified"
    layout["xaxis"] = {"title": {"text": "time (UTC)"}, "type": "date", "automargin": True}
    begins = [begin for begin, _ in series.buckets()]
    if begins:
        layout["xaxis"]["range"] = [_plotted(begins[0]), _plotted(begins[-1] + series.width_us)]
    if stacked:
        layout["barmode"] = "stack"
    return layout


def _layout(unit: str) -> Figure:
    return {
        "yaxis": {
            "title": {"text": unit, "standoff": 8},
            "rangemode": "tozero",
            "tickformat": ",~s",
            "automargin": True,
        },
        # The page has a legend of its own, which folds better on a narrow screen.
        "showlegend": False,
        "dragmode": False,
        "separators": ".,",
        "margin": {"l": 56, "r": 12, "t": 8, "b": 48},
    }


def _plotted(time_us: int) -> str:
    """A time as plotly.js reads it; what it draws is what stands there, here UTC."""
    return f"{EPOCH + timedelta(microseconds=time_us):%Y-%m-%d %H:%M:%S.%f}"


def shown(text: str) -> str:
    """A text of the log as HTML: what a caller wrote stays text, and draws nothing."""
    return escape(
        "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def usdc(amount: Decimal) -> str:
    """An amount to the cent, with separators of thousands."""
    return f"{amount:,.2f}"


def utc(time_us: int, width_us: int = SECOND_US) -> str:
    """A time since the Unix epoch as people read it, as fine as buckets of this width need."""
    moment = EPOCH + timedelta(microseconds=time_us)
    if width_us >= DAY_US:
        return f"{moment:%Y-%m-%d}"
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    return text if width_us >= SECOND_US else f"{text}.{moment.microsecond // 1000:03d}"


def duration(microseconds: int) -> str:
    """A span in the unit that suits it."""
    for unit, size in (("s", SECOND_US), ("ms", 1000)):
        if microseconds >= size:
            return (
                f"{microseconds / size:,.3g} {unit}"
                if microseconds < 1000 * size
                else f"{microseconds // size:,} {unit}"
            )
    return f"{microseconds} µs"


def code_label(code: int) -> str:
    """A code with what it means in a few words."""
    words = _CODES.get(code, _OTHER)[0]
    return words if code == 0 else f"{code} {words}".strip()


def look_of(code: int) -> tuple[str, str]:
    """The colour in which a code is drawn, and the pattern: "", "/" or "x"."""
    _, colour, pattern = _CODES.get(code, _OTHER)
    return colour, pattern
