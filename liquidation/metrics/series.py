"""The values that labels may have, the series found by them, and facts known at a scrape."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from liquidation.rules.errors import OWN_WORDS, TABLE
from liquidation.rules.policy import RULE_NAMES
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2

_METHODS: Final = [
    method
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
UNARY: Final = [method.name for method in _METHODS if not method.server_streaming]
DECIDING: Final = ("CheckClaim", "BatchCheckClaims", "StreamCheckClaims", "BeginClaim")
CODES: Final = [0, *sorted({row.code for row in (*TABLE, *OWN_WORDS)}, reverse=True)]
# What decides beside the rules of the policy: none of them, and what a BeginClaim alone can break.
RULES: Final = ("", *RULE_NAMES, "request_id_unused")
# Codes and rules that begin at 0: acceptance, what no rule decides, and a claim in process.
WATCHED: Final = (
    (0, ""),
    (-1000, ""),
    (-1003, ""),
    (-1011, ""),
    (-1012, "no_claim_in_process"),
    (-1012, "liquidator_not_in_liquidation"),
)
_OTHER: Final = "other"
# Upper bounds in seconds: a decision takes some 100 µs, a commit some ms, and what waits for a
# store gives up after 2 s.
SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
# Writes of one commit; the store takes at most 256.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_C = TypeVar("_C", Counter, Gauge, Histogram)


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


class Children(dict[Any, _C]):
    """The series of a metric by the values of its labels; looked up once, then a plain dict.

    Finding a series by `labels()` takes a lock and several times as long as counting.
    """

    def __init__(self, metric: _C, *known: Iterable[object]) -> None:
        """`known` are the values of each label."""
        super().__init__()
        self._metric: _C = metric
        self._known = tuple(map(frozenset, known))

    def begin(self, *keys: Any) -> None:
        """Lets these series begin at 0."""
        for key in keys:
            self[key]

    def __missing__(self, key: Any) -> _C:
        values = key if isinstance(key, tuple) else (key,)
        bounded = tuple(
            value if value in known else _OTHER
            for value, known in zip(values, self._known, strict=True)
        )
        child: _C = self._metric.labels(*bounded)
        # What is not known is not remembered either: there is no bound on what that can be.
        if bounded == values:
            self[key] = child
        return child


def counter(registry: CollectorRegistry, name: str, told: str, *labels: str) -> Counter:
    """A counter of this service; `told` is its help text."""
    return Counter(f"liquidation_{name}", told, labels, registry=registry)


def gauge(registry: CollectorRegistry, name: str, told: str, *labels: str) -> Gauge:
    """A gauge of this service."""
    return Gauge(f"liquidation_{name}", told, labels, registry=registry)


def histogram(
    registry: CollectorRegistry, name: str, told: str, bounds: Iterable[float], *labels: str
) -> Histogram:
    """A histogram of this service; `bounds` are the upper ones of its buckets, inclusive."""
    buckets = tuple(bounds)
    return Histogram(f"liquidation_{name}", told, labels, registry=registry, buckets=buckets)
