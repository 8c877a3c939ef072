"""What is so at the moment of a scrape, and was counted by nobody in `prometheus`."""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Facts"]


class Facts:
    """A collector of what is set here; what is None has no series."""

    def __init__(self) -> None:
        self.calls_in_progress: Callable[[], int] = lambda: 0
        self.log_lines_lost: Callable[[], int] = lambda: 0
        self.rules: str | None = None
        self.rules_loaded_at = 0.0
        self.candidate: str | None = None
        self.not_after: float | None = None

    def collect(self) -> Iterable[Metric]:
        lost = CounterMetricFamily(
            "liquidation_log_lines_lost",
            "Lines that the log could not take.",
            value=self.log_lines_lost(),
        )
        in_progress = _fact("calls_in_progress", "Calls in progress.", self.calls_in_progress())
        told = "When the rules in force were loaded, in seconds since 1970."
        loaded = _fact("rules_loaded_timestamp_seconds", told, self.rules_loaded_at or None)
        told = "When the certificate in use runs out, in seconds since 1970; only with TLS."
        expires = _fact("tls_certificate_not_after_timestamp_seconds", told, self.not_after)
        rules = _version("rules_info", "The rules in force.", self.rules)
        told = "The rules that are compared with those in force."
        candidate = _version("candidate_rules_info", told, self.candidate)
        return (lost, in_progress, loaded, expires, rules, candidate)


def _fact(name: str, told: str, value: float | None) -> Metric:
    """A gauge; without a sample where there is no value."""
    return GaugeMetricFamily(f"liquidation_{name}", told, value=value)


def _version(name: str, told: str, version: str | None) -> Metric:
    family = GaugeMetricFamily(f"liquidation_{name}", told, labels=["version"])
    if version is not None:
        family.add_metric([version], 1)
    return family
