"""The values of labels: those that are known, and one for all others."""

import prometheus_client

from liquidation.metrics.prometheus import Children, Metrics
from tests.service.metrics.scrapes import rendered


def test_calls_are_counted_by_name_and_code() -> None:
    metrics = Metrics()
    metrics.called("GetClaim", 0, 0.003)
    metrics.called("GetClaim", -1006, 0.0001)

    seen = rendered(metrics)

    assert seen.counted("liquidation_calls_total") == {
        ("0", "GetClaim", "0"): 1,
        ("-1006", "GetClaim", "0"): 1,
    }
    buckets = seen.series("liquidation_call_duration_seconds_bucket", rpc="GetClaim", worker="0")
    assert (buckets["0.0001",], buckets["0.0025",], buckets["0.005",]) == (1, 1, 2)


def test_a_name_that_is_not_known_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    before = rendered(metrics)
    for number in range(1000):
        metrics.called(f"Call{number}", -number - 5000, 0.1)
        metrics.decided(f"Call{number}", number + 1, f"rule_{number}", 0.1)
        metrics.line(f"event_{number}")
        metrics.reloaded(f"file_{number}", "")

    seen = rendered(metrics)

    assert seen.value("liquidation_calls_total", rpc="other", code="other") == 1000
    assert seen.value("liquidation_decisions_total", rpc="other") == 1000
    assert seen.value("liquidation_log_lines_total", event="other") == 1000
    assert seen.value("liquidation_reloads_total", file="other") == 1000
    assert len(seen.text.splitlines()) - len(before.text.splitlines()) < 50


def test_a_name_that_is_not_known_is_not_remembered() -> None:
    counter = prometheus_client.Counter("calls", "Calls.", ["rpc"], registry=None)
    children = Children(counter, ["GetClaim"], begin=())
    for number in range(1000):
        children[f"Call{number}"].inc()
    children["GetClaim"].inc()

    assert list(children) == ["GetClaim"]
