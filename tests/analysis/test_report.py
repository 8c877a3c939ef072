"""A log as a page: the numbers are right, the page is whole, and nothing in the log draws on it."""

import json
import random
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from liquidation.analysis.charts import charts
from liquidation.analysis.counters import EPOCH, Latencies, SequenceNumbers, TimeSeries, TopK
from liquidation.analysis.page import page
from liquidation.analysis.summary import Report
from liquidation.rules.numbers import plain
from tests.analysis.chromium import Page, chromium, opened

HOSTILE = '</script><script>document.title="drawn on"</script><b>&amp;{{x}}%{y}\x1b\u202e'
NAMES = {
    0: "",
    -1004: "UNKNOWN_PARAM",
    -1005: "INVALID_PARAM",
    -1011: "SERVICE_UNAVAILABLE",
    -1012: "RISK_TOO_HIGH",
    -1101: "RISK",
    -1103: "PRICE",
    -1201: "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
    -1202: "LIQUIDATION_STATUS_ERROR",
}


def decision(seq: int, **fields: Any) -> dict[str, Any]:
    """A line as the service writes it, one a second."""
    return {
        "timestamp": f"2026-11-22T{seq // 3600 % 24:02}:{seq // 60 % 60:02}:{seq % 60:02}.500000Z",
        "level": "info",
        "event": "decision",
        "decision_id": f"p-{seq}",
        "rpc": "CheckClaim",
        "account_id": "account-1",
        "liquidator_id": "liquidator-1",
        "latency_us": 100 + seq,
        "outcome": "accepted",
        "code": 0,
        "name": "",
        "rule": "",
        "total_notional": "1234.5",
        "rules_version": "2026-11",
        "process": "p",
        "worker": 0,
        "seq": seq,
    } | fields


def refused(seq: int, code: int, **fields: Any) -> dict[str, Any]:
    return decision(seq, outcome="refused", code=code, name=NAMES[code], rule="a_rule", **fields)


def reported(lines: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> Report:
    report = Report()
    for line in lines:
        report.add(line)
    report.count()
    return report


def many_codes() -> Iterator[dict[str, Any]]:
    """Ten minutes of decisions of every kind, by hostile and by plain callers; two are missing."""
    drawn = random.Random(1)
    codes = list(NAMES)
    for seq in range(1, 601):
        if seq in {100, 101}:
            continue
        code = codes[seq % len(codes)]
        callers = {
            "liquidator_id": HOSTILE if seq % 7 == 0 else f"liquidator-{drawn.randrange(30)}",
            "account_id": HOSTILE if seq % 11 == 0 else f"account-{drawn.randrange(300)}",
            "total_notional": plain(Decimal(drawn.randrange(10**9)) / 10**4),
        }
        yield refused(seq, code, **callers) if code else decision(seq, **callers)


def test_totals_are_exact() -> None:
    lines = [
        decision(1, total_notional="0.000000000000000001"),
        decision(2, total_notional="123456789012345678901234567890"),
        refused(3, -1201, total_notional="7.5"),
    ]

    report = reported(lines)

    assert (report.all.lines, report.all.refused) == (3, 1)
    assert plain(report.accepted_notional) == "123456789012345678901234567890.000000000000000001"
    assert report.codes.top(2)[1][1].notional == Decimal("7.5")
    assert (report.first, report.last) == (lines[0]["timestamp"], lines[2]["timestamp"])


def test_a_claim_is_a_decision_once() -> None:
    begun = decision(1, event="claim", change="begin", known=False, claim_id="c")
    report = reported(
        [
            begun,
            begun | {"seq": 2, "known": True},
            decision(3, event="claim", change="renew"),
            decision(4, event="claim", change="complete"),
            decision(5, event="liquidation", change="opened"),
        ]
    )

    assert report.all.lines == 1
    assert report.changes == {"begin": 1, "renew": 1, "complete": 1}


def test_missing_double_and_lost_lines_are_told() -> None:
    report = reported(
        [decision(seq) for seq in (5, 6, 9, 8, 12, 12, 9)]
        + [decision(seq, process="q") for seq in (1, 2)]
        + [{"event": "log_lines_lost", "lost": 3, "process": "p"}]
    )

    assert list(report.numbers.gaps()) == [("p", 7, 7), ("p", 10, 11)]
    assert (report.numbers.missing, report.numbers.twice, report.lost_in_all) == (3, 2, 3)


def test_numbers_in_any_order_leave_no_gap() -> None:
    order = list(range(1, 500))
    random.Random(2).shuffle(order)
    numbers = SequenceNumbers()
    for seq in order:
        numbers.add("p", seq)

    assert (list(numbers.gaps()), numbers.twice, numbers.not_followed) == ([], 0, 0)


@pytest.mark.parametrize(
    "value", [None, 5, -1, 1e300, True, "x", "1e5", [], {}, "\ud800", "9" * 99]
)
def test_no_value_of_a_key_stops_a_report(value: object) -> None:
    lines = [decision(1) | {key: value} for key in decision(1) if key != "event"]

    report = reported([*lines, decision(2)])

    assert report.all.lines + report.unlike == len(lines) + 1
    assert "<h1>" in page(report, "", ["a"])


def test_a_sampled_log_is_told_as_such() -> None:
    whole, sampled = (
        page(reported([decision(1, **sample)]), "", ["a"]) for sample in ({}, {"sample": "0.1"})
    )

    assert "was logged (0.1)" in sampled
    assert "was logged" not in whole


def test_an_empty_log_makes_a_page() -> None:
    assert "No decision was found." in page(Report(), "", ["empty.log"])


def test_buckets_of_time_stay_few_and_lose_nothing() -> None:
    series = TimeSeries()
    drawn = random.Random(3)
    times = [10**14 + drawn.randrange(10**15) for _ in range(2000)]
    for time in times:
        moment = EPOCH + timedelta(microseconds=time)
        series.add(moment.isoformat(), -1201, 1, Decimal(1))

    buckets = list(series.buckets())

    assert len(buckets) <= 180
    assert sum(bucket.lines for _, bucket in buckets) == 2000
    assert all(begin % series.width_us == 0 for begin, _ in buckets)
    begin, bucket = buckets[len(buckets) // 2]
    assert bucket.lines == sum(begin <= time < begin + series.width_us for time in times)


def test_names_without_room_are_forgotten_and_it_is_told() -> None:
    names = TopK(room=10)
    for number in range(1000):
        names.add("often", 1, 0, Decimal(1))
        names.add(f"once-{number}", 1, 1, Decimal(1))

    assert len(names) <= 10
    assert names.top(1)[0][0] == "often"
    assert names.top(1)[0][1].lines == 1000
    assert names.may_lack > 0


def test_a_percentile_is_within_its_error() -> None:
    latencies = Latencies()
    drawn = random.Random(4)
    values = sorted(int(drawn.lognormvariate(6, 2)) for _ in range(5000))
    for value in values:
        latencies.add_all([value])

    for percent in (50, 90, 99):
        exact = values[5000 * percent // 100 - 1]
        assert exact <= latencies.percentile(str(percent)) <= exact * Decimal("1.033") + 1
    assert sum(count for *_, count in latencies.ranges()) == 5000
    assert latencies.percentile("100") == latencies.largest == values[-1]


def test_every_figure_is_one_of_plotlys() -> None:
    drawn = charts(reported(many_codes()))

    assert len(drawn) == 6
    for chart in drawn:
        assert go.Figure(chart.figure).data


class Elements(HTMLParser):
    """The elements of a page, and the heads and rows of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.in_cell = False
        self.sources: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.sources += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in {"td", "th"}


def test_what_callers_wrote_stays_text() -> None:
    text = page(reported(many_codes()), "", [HOSTILE])

    elements = Elements(text)

    assert (elements.scripts, elements.sources) == (3, [])
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    seen = HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
    assert any(row[0] == seen for row in elements.rows if row)


def test_every_chart_has_its_numbers_in_a_table() -> None:
    report = reported(many_codes())
    rows = Elements(page(report, "", ["a.log"])).rows

    for chart in charts(report):
        assert list(chart.head) in rows
        assert [cell.replace("\x1b", "\ufffd") for cell in chart.rows[-1]][1:] in [
            row[1:] for row in rows
        ]


needs_chromium = pytest.mark.skipif(
    chromium() is None, reason="no Chromium on this machine: the page is not looked at in a browser"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a log with nine codes, as a browser shows it."""
    folder = tmp_path_factory.mktemp("browser")
    file = folder / "report.html"
    file.write_text(page(reported(many_codes()), get_plotlyjs(), [HOSTILE]), encoding="utf-8")
    with opened(file, folder / "profile") as browser:
        browser.value(
            "new Promise(done => { const look = () => document.documentElement.hasAttribute("
            "'data-drawn') ? done(true) : requestAnimationFrame(look); look(); })"
        )
        yield browser


@needs_chromium
def test_a_browser_draws_every_chart_without_error_or_network(browser: Page) -> None:
    browser.look(width=1280, dark=False)

    drawn = browser.value(
        "[...document.querySelectorAll('.chart')].map(chart => [chart.id,"
        " chart.querySelectorAll('.point path, .lines path').length])"
    )

    assert [name for name, _ in drawn] == [chart.name for chart in charts(Report())]
    assert all(marks > 0 for _, marks in drawn), drawn
    assert browser.value("document.title") == "Liquidation decisions"
    assert browser.errors == []
    assert [url.partition(":")[0] for url in browser.requested] == ["file"]


@needs_chromium
@pytest.mark.parametrize("name", [chart.name for chart in charts(Report())])
def test_a_value_is_shown_where_the_mouse_points(browser: Page, name: str) -> None:
    browser.look(width=1280, dark=False)
    x, y = browser.value(
        f"(() => {{ const chart = document.getElementById('{name}');"
        " chart.scrollIntoView({block: 'center'});"
        " const marks = chart.querySelectorAll('.barlayer .point path, .scatterlayer .point');"
        " const at = marks[Math.floor(marks.length / 2)].getBoundingClientRect();"
        " return [at.x + at.width / 2, at.y + at.height / 2]; })()"
    )

    browser.point(x, y)

    shown = browser.value(f"document.querySelector('#{name} .hoverlayer').textContent")
    assert re.search(r"\d", shown)


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_its_screen(browser: Page, width: int, *, dark: bool) -> None:
    browser.look(width=width, dark=dark)

    assert browser.value("document.documentElement.scrollWidth") == width
    widths = browser.value(
        "[...document.querySelectorAll('.chart')].map(chart => ["
        "chart.querySelector('.main-svg').getBoundingClientRect().width, chart.clientWidth])"
    )
    assert all(abs(drawn - given) < 1 for drawn, given in widths), widths
    ink, text = browser.value(
        "[getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('.chart text')).fill]"
    )
    assert ink == text == ("rgb(232, 235, 240)" if dark else "rgb(27, 31, 39)")


@needs_chromium
def test_hostile_names_are_drawn_as_text(browser: Page) -> None:
    labels = browser.value(
        "[...document.querySelectorAll('#liquidators .yaxislayer-above text')]"
        ".map(label => label.textContent)"
    )

    assert "</script…" in "".join(labels)
    assert browser.value("document.querySelectorAll('b, .chart a').length") == 0


def test_a_figure_in_the_page_is_that_of_the_report() -> None:
    report = reported(many_codes())

    found = re.search(r'id="figures">(.*?)</script>', page(report, "", ["a.log"]))

    assert found is not None
    assert json.loads(found[1]) == {chart.name: chart.figure for chart in charts(report)}
