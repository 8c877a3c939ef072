"""The charts of a report: each as a figure of plotly.js and as a table of the same numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from liquidation.analysis.labels import (
    ACCEPTED,
    REFUSED,
    code_label,
    duration,
    look_of,
    shown,
    usdc,
    utc,
)
from liquidation.analysis.report import Report
from liquidation.analysis.tallies import Names, Series

__all__ = ["Chart", "charts"]

# Bars of the most active; rows of the table below have more.
_BARS: Final = 10
_ROWS: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US: Final = 1_000_000
_LONG_LABEL: Final = 16

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
    """The width of a slot in words."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = width_us // (size * _SECOND_US)
        if count:
            return unit if count == 1 else f"{count:,} {unit}s"
    return f"{width_us // 1000} milliseconds"


def _codes(report: Report) -> list[int]:
    """Accepted first, then the codes by how often they were given."""
    return sorted(report.codes, key=lambda code: (code != 0, -report.codes[code].count, code))


def _decisions(report: Report) -> Chart:
    slots = list(report.series.slots())
    codes = _codes(report)
    traces = [
        _bars(
            report.series,
            code_label(code),
            [slot.codes.get(code, 0) for _, slot in slots],
            look_of(code),
        )
        for code in codes
    ]
    rows = [
        (
            utc(begin, report.series.width_us),
            *(f"{slot.codes.get(code, 0):,}" for code in codes),
            f"{slot.count:,}",
        )
        for begin, slot in slots
    ]
    return Chart(
        "decisions",
        "Decisions over time, by code",
        f"Decisions in each {_span(report.series.width_us)}.",
        {"data": traces, "layout": _over_time(report.series, "decisions", stacked=True)},
        ("begin (UTC)", *map(code_label, codes), "in all"),
        rows,
    )


def _share(report: Report) -> Chart:
    width = report.series.width_us
    slots = list(report.series.slots())
    shares = [
        None if slot.count == 0 else 100 * (slot.count - slot.codes.get(0, 0)) / slot.count
        for _, slot in slots
    ]
    overall = 100 * report.all.refused / max(report.all.count, 1)
    middles = [_plotted(begin + width // 2) for begin, _ in slots]
    ends = [_plotted(slots[0][0]), _plotted(slots[-1][0] + width)] if slots else []
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
            f"{slot.count:,}",
            f"{slot.count - slot.codes.get(0, 0):,}",
            "" if share is None else f"{share:.1f} %",
        )
        for (begin, slot), share in zip(slots, shares, strict=True)
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
    slots = list(report.series.slots())
    accepted = [slot.accepted for _, slot in slots]
    refused = [slot.refused for _, slot in slots]
    traces = [
        _bars(report.series, "accepted", [float(each) for each in accepted], (ACCEPTED, "")),
        _bars(report.series, "refused", [float(each) for each in refused], (REFUSED, "")),
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
            (utc(begin, report.series.width_us), usdc(slot.accepted), usdc(slot.refused))
            for begin, slot in slots
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
        f"{percent} % within {duration(report.latencies.percentile(Decimal(percent)))}"
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


def _most_active(kind: str, names: Names) -> Chart:
    top = names.top(_ROWS)
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
            ("accepted", ACCEPTED, [tally.count - tally.refused for _, tally in bars]),
            ("refused", REFUSED, [tally.refused for _, tally in bars]),
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
    if names.missed:
        note += f" More names than can be counted at once: up to {names.missed:,} of one may lack."
    return Chart(
        kind,
        f"Most active {kind}",
        note,
        {"data": traces, "layout": layout},
        (kind.removesuffix("s"), "decisions", "refused", "share refused", "notional, USDC"),
        [
            (
                name,
                f"{tally.count:,}",
                f"{tally.refused:,}",
                f"{100 * tally.refused / tally.count:.1f} %",
                usdc(tally.notional),
            )
            for name, tally in top
        ],
    )


def _label(name: str) -> str:
    """An id where there is little room: its two ends."""
    return shown(name if len(name) <= _LONG_LABEL else f"{name[:8]}…{name[-6:]}")


def _bars(series: Series, name: str, values: Iterable[float], look: tuple[str, str]) -> Figure:
    colour, pattern = look
    return {
        "type": "bar",
        "name": name,
        "x": [_plotted(begin) for begin, _ in series.slots()],
        "y": list(values),
        "offset": 0,
        "width": series.width_us / 1000,
        "marker": {"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}},
        "hovertemplate": "%{y:,}<extra>%{fullData.name}</extra>",
    }


def _over_time(series: Series, unit: str, *, stacked: bool = False) -> Figure:
    layout = _layout(unit)
    layout["hovermode"] = "x unified"
    layout["xaxis"] = {"title": {"text": "time (UTC)"}, "type": "date", "automargin": True}
    begins = [begin for begin, _ in series.slots()]
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
    return f"{_EPOCH + timedelta(microseconds=time_us):%Y-%m-%d %H:%M:%S.%f}"
