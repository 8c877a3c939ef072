"""What is counted and measured, as prometheus_client keeps it.

Every label has a bounded set of values: what is none of them is counted as `other`. Counters that
alerts look at begin at 0, so that the first increment is seen as one.
"""

import platform
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from itertools import product
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from liquidation.decisionlog.entry import Disagreement
from liquidation.decisionlog.observer import EVENTS, ClaimEnd
from liquidation.metrics import FILES, Instruments
from liquidation.metrics.exposition import Endpoint, answer_scrapes, labelled, serve_metrics
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

    def __init__(
        self, metric: _C, *known: Iterable[object], begin: Iterable[Any] | None = None
    ) -> None:
        """`known` are the values of each label; `begin` are the series that begin at 0, or all."""
        super().__init__()
        self._metric: _C = metric
        self._known = tuple(map(frozenset, known))
        for key in (product(*known) if len(known) > 1 else known[0]) if begin is None else begin:
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


class Metrics(Instruments):
    """Counts and measures what one process does."""

    counts = True

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._count_decisions(registry)
        self._count_claims(registry)
        self._count_log(registry)
        self._serving = gauge(registry, "serving", "1 while health says SERVING, else 0.")
        build = gauge(registry, "build_info", "What runs.", "version", "python", "grpc")
        build.labels(_own_version(), platform.python_version(), grpc.__version__).set(1)
        self._facts = Facts()
        registry.register(self._facts)

    def _count_decisions(self, registry: CollectorRegistry) -> None:
        decisions = counter(
            registry, "decisions", "Decisions on claims that were made.", "rpc", "code", "rule"
        )
        begin = [(rpc, *each) for rpc in DECIDING for each in WATCHED]
        self._decisions = Children(decisions, DECIDING, CODES, RULES, begin=begin)
        self._decision_s = Children(
            histogram(
                registry,
                "decision_duration_seconds",
                "From the begin of a call, or of an item of a stream, to its decision.",
                SECONDS,
                "rpc",
            ),
            DECIDING,
        )
        calls = counter(registry, "calls", "Unary calls that were answered.", "rpc", "code")
        self._calls = Children(calls, UNARY, CODES, begin=product(UNARY, (0, -1000, -1011)))
        self._call_s = Children(
            histogram(
                registry,
                "call_duration_seconds",
                "From the begin of a unary call to its answer.",
                SECONDS,
                "rpc",
            ),
            UNARY,
        )
        told = "What rules in mode shadow would have refused."
        self._shadow = Children(counter(registry, "shadow_refusals", told, "rule"), RULE_NAMES)
        kinds = [kind.value for kind in Disagreement]
        told = "Decisions that the candidate rules would have made otherwise."
        disagreements = counter(registry, "candidate_disagreements", told, "kind")
        self._disagreements = Children(disagreements, kinds)

    def _count_claims(self, registry: CollectorRegistry) -> None:
        told = "Claims in the store that are active; the same in all workers."
        self._active = gauge(registry, "claims_active", told)
        self._begun = counter(registry, "claims_begun", "Claims that were granted.")
        ends = [end.value for end in ClaimEnd]
        ended = counter(registry, "claims_ended", "Claims that ended, by how.", "how")
        self._ended = Children(ended, ends)
        changes = ("opened", "closed", "refused")
        told = "Liquidations that were opened or closed, and calls to do so that were refused."
        self._liquidations = Children(counter(registry, "liquidations", told, "change"), changes)
        told = "Writes to the store that shared a commit."
        self._commit_size = histogram(registry, "group_commit_size", told, SIZES)
        self._commit_s = histogram(
            registry,
            "group_commit_duration_seconds",
            "How long a commit took, waiting for other processes included.",
            SECONDS,
        )
        told = "Times that the store did not answer."
        self._store_errors = counter(registry, "store_errors", told)

    def _count_log(self, registry: CollectorRegistry) -> None:
        told = "Lines handed to the log, those that were lost later included."
        self._lines = Children(counter(registry, "log_lines", told, "event"), EVENTS)
        self._faults = counter(registry, "faults", "Errors that are nobody's answer.")
        told = "Files read again with another result than before."
        reloads = counter(registry, "reloads", told, "file", "result")
        self._reloads = Children(reloads, FILES, ("success", "failure"))
        told = "1 while what the file holds now is not in force, because it is not sound."
        self._problems = Children(gauge(registry, "reload_problem", told, "file"), FILES)

    def decided(self, rpc: str, code: int, rule: str, seconds: float) -> None:
        self._decisions[rpc, code, rule].inc()
        self._decision_s[rpc].observe(seconds)

    def shadow_refused(self, rule: str) -> None:
        self._shadow[rule].inc()

    def disagreed(self, kind: str) -> None:
        self._disagreements[kind].inc()

    def claim_begun(self) -> None:
        self._begun.inc()

    def claim_ended(self, how: ClaimEnd) -> None:
        self._ended[how.value].inc()

    def liquidation(self, change: str) -> None:
        self._liquidations[change].inc()

    def store_failed(self) -> None:
        self._store_errors.inc()

    def faulted(self) -> None:
        self._faults.inc()

    def line(self, event: str) -> None:
        self._lines[event].inc()

    def called(self, rpc: str, code: int, seconds: float) -> None:
        self._calls[rpc, code].inc()
        self._call_s[rpc].observe(seconds)

    def committed(self, size: int, seconds: float) -> None:
        self._commit_size.observe(size)
        self._commit_s.observe(seconds)

    def watch(
        self, calls_in_progress: Callable[[], int], log_lines_lost: Callable[[], int]
    ) -> None:
        self._facts.calls_in_progress = calls_in_progress
        self._facts.log_lines_lost = log_lines_lost

    def claims_active(self, count: int) -> None:
        self._active.set(count)

    def rules_in_force(self, version: str, candidate: str | None) -> None:
        facts = self._facts
        if version != facts.rules:
            facts.rules_loaded_at = time.time()
        facts.rules, facts.candidate = version, candidate

    def reloaded(self, name: str, problem: str) -> None:
        self._reloads[name, "failure" if problem else "success"].inc()
        self._problems[name].set(bool(problem))

    def serves(self, serving: bool, /) -> None:  # noqa: FBT001 - it is the value itself
        self._serving.set(serving)

    def certificate(self, not_after: float | None) -> None:
        self._facts.not_after = not_after

    def collect(self) -> list[Metric]:
        """All that is told at a scrape, as that of the only worker."""
        return labelled(self.registry.collect(), 0)

    def serve(self, address: str) -> Endpoint:
        """Serves these metrics at `HOST:PORT`.

        Raises:
            MetricsError: the address cannot be listened on.
        """
        return serve_metrics(address, self.collect)

    def answer(self, connection: Connection) -> None:
        """Gives these metrics to a supervisor whenever it asks; see `Workers.add`."""
        answer_scrapes(connection, self.registry)


def _own_version() -> str:
    try:
        return metadata.version("liquidation")
    except metadata.PackageNotFoundError:
        # It runs from a checkout that is not installed.
        return "unknown"
