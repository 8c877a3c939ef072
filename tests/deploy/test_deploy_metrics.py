"""The dashboard and the alerts speak of what is really told."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from liquidation.metrics import new_metrics, new_workers
from tests.service.metrics.scrapes import Scrape, rendered

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
ALERTS = ROOT / "deploy" / "prometheus-alerts.yml"
PROMTOOL = shutil.which("promtool")

# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$worker": ".*"}
# Labels that Prometheus gives to what it scrapes.
SCRAPED = {"instance", "job"}


def everything() -> dict[str, set[str]]:
    """Every sample that can be told, and the names of its labels."""
    metrics = new_metrics()
    metrics.rules_in_force("2026-1", "2026-2")
    metrics.certificate(1_800_000_000)
    told: dict[str, set[str]] = {}
    for scrape in (rendered(metrics), rendered(new_workers(2))):
        for family in scrape.families:
            for sample in family.samples:
                told.setdefault(sample.name, set()).update(sample.labels)
    return told


TOLD = everything()


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with the name of where it stands."""
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            yield f"{panel['title']} {target['refId']}", text
    for rule in alerts():
        yield rule["alert"], rule["expr"]


EXPRESSIONS = dict(expressions())


def selected(node: Any) -> Iterator[Any]:
    """Every selector of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from selected(inner)
    for argument in getattr(node, "args", None) or ():
        yield from selected(argument)


def grouped(node: Any) -> Iterator[str]:
    """The labels that an expression groups by, wherever in it."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        yield from node.modifier.labels
    for name in ("expr", "lhs", "rhs"):
        if (inner := getattr(node, name, None)) is not None:
            yield from grouped(inner)
    for argument in getattr(node, "args", None) or ():
        yield from grouped(argument)


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_an_expression_asks_for_what_is_told(place: str) -> None:
    parsed = promql_parser.parse(EXPRESSIONS[place])

    selectors = list(selected(parsed))
    assert selectors
    labels: set[str] = set()
    for selector in selectors:
        assert selector.name in TOLD
        labels |= TOLD[selector.name]
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= TOLD[selector.name] | SCRAPED
    assert set(grouped(parsed)) <= labels | SCRAPED


def test_every_metric_of_the_service_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = {
        selector.name
        for text in EXPRESSIONS.values()
        for selector in selected(promql_parser.parse(text))
    }
    # A histogram counts as asked for where one of its series is.
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in TOLD if "liquidation" in name}

    assert told - stems == {"liquidation_build_info", "liquidation_rules_loaded_timestamp_seconds"}


def test_a_legend_names_labels_that_its_expression_leaves() -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            text = EXPRESSIONS[f"{panel['title']} {target['refId']}"]
            parsed = promql_parser.parse(text)
            left = set(grouped(parsed)) or TOLD[next(selected(parsed)).name] | SCRAPED
            assert named <= left, text


def test_the_dashboard_can_be_narrowed_to_a_worker() -> None:
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}

    assert set(variables) == {"datasource", "instance", "worker"}
    assert variables["datasource"]["type"] == "datasource"
    for name in ("instance", "worker"):
        query = variables[name]["query"]["query"]
        metric, label = re.fullmatch(r"label_values\((\w+)(?:{.*})?, (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in TOLD[metric] | SCRAPED
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all('worker=~"$worker"' in target["expr"] for target in panel["targets"])


def test_the_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    titles = [panel["title"] for panel in panels()]
    places = [
        (x, y)
        for panel in dashboard()["panels"]
        for at in (panel["gridPos"],)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    assert len(set(places)) == len(places)
    assert all(x < 24 for x, _ in places)


def test_every_alert_says_how_bad_it_is_and_what_to_look_at() -> None:
    names = [rule["alert"] for rule in alerts()]

    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        parsed = promql_parser.parse(rule["expr"])
        left = set(grouped(parsed)) or TOLD[next(selected(parsed)).name] | SCRAPED
        assert named <= left


def test_counters_that_alerts_look_at_are_there_before_anything_happens() -> None:
    fresh = rendered(new_metrics())
    for rule in alerts():
        for selector in selected(promql_parser.parse(rule["expr"])):
            if selector.name.endswith("_total"):
                wanted = {each.name: each.value for each in selector.matchers.matchers}
                assert fresh.series(selector.name, **wanted), rule["alert"]


@pytest.mark.skipif(PROMTOOL is None, reason="it needs Debian's package prometheus")
def test_promtool_takes_the_alerts() -> None:
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(ALERTS)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def documented() -> dict[str, tuple[set[str], str]]:
    """Metric, its labels and its type, by the table of docs/reference/metrics.md."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(liquidation_\w+)(?:{([\w,]+)})?` \| (\w+) \|", text, re.MULTILINE)
    return {name: (set(filter(None, labels.split(","))), kind) for name, labels, kind in rows}


def _types(scrape: Scrape) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (liquidation_\w+) (\w+)$", scrape.text, re.MULTILINE))


def test_every_metric_is_documented_with_its_labels_and_type() -> None:
    types = _types(rendered(new_metrics())) | _types(rendered(new_workers(1)))

    assert {name: kind for name, (_, kind) in documented().items()} == types
    for name, (labels, kind) in documented().items():
        sample = f"{name}_bucket" if kind == "histogram" else name
        assert labels == TOLD[sample] - {"worker", "le"}, name
