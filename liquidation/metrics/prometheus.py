"""What is counted and measured, as prometheus_client keeps it.

Counters that alerts look at begin at 0, so that the first increment is seen as one.
"""

import platform
import time
from collections.abc import Callable
from importlib import metadata
from multiprocessing.connection import Connection

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from liquidation.decisionlog.entry import Disagreement
from liquidation.decisionlog.observer import EVENTS, ClaimEnd
from liquidation.metrics import FILES, Instruments
from liquidation.metrics.exposition import Endpoint, answer_scrapes, labelled, serve_metrics
from liquidation.metrics.series import (
    CODES,
    DECIDING,
    RULES,
    SECONDS,
    SIZES,
    UNARY,
    WATCHED,
    Children,
    Facts,
    counter,
    gauge,
    histogram,
)
from liquidation.rules.policy import RULE_NAMES


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
        self._decisions = Children(decisions, DECIDING, CODES, RULES)
        self._decisions.begin(*((rpc, *each) for rpc in DECIDING for each in WATCHED))
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
        self._decision_s.begin(*DECIDING)
        calls = counter(registry, "calls", "Unary calls that were answered.", "rpc", "code")
        self._calls = Children(calls, UNARY, CODES)
        self._calls.begin(*((rpc, code) for rpc in UNARY for code in (0, -1000, -1011)))
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
        self._call_s.begin(*UNARY)
        told = "What rules in mode shadow would have refused."
        self._shadow = Children(counter(registry, "shadow_refusals", told, "rule"), RULE_NAMES)
        self._shadow.begin(*RULE_NAMES)
        kinds = [kind.value for kind in Disagreement]
        told = "Decisions that the candidate rules would have made otherwise."
        disagreements = counter(registry, "candidate_disagreements", told, "kind")
        self._disagreements = Children(disagreements, kinds)
        self._disagreements.begin(*kinds)

    def _count_claims(self, registry: CollectorRegistry) -> None:
        told = "Claims in the store that are active; the same in all workers."
        self._active = gauge(registry, "claims_active", told)
        self._begun = counter(registry, "claims_begun", "Claims that were granted.")
        ends = [end.value for end in ClaimEnd]
        ended = counter(registry, "claims_ended", "Claims that ended, by how.", "how")
        self._ended = Children(ended, ends)
        self._ended.begin(*ends)
        changes = ("opened", "closed", "refused")
        told = "Liquidations that were opened or closed, and calls to do so that were refused."
        self._liquidations = Children(counter(registry, "liquidations", told, "change"), changes)
        self._liquidations.begin(*changes)
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
        self._lines.begin(*EVENTS)
        self._faults = counter(registry, "faults", "Errors that are nobody's answer.")
        told = "Files read again with another result than before."
        reloads = counter(registry, "reloads", told, "file", "result")
        results = ("success", "failure")
        self._reloads = Children(reloads, FILES, results)
        self._reloads.begin(*((file, result) for file in FILES for result in results))
        told = "1 while what the file holds now is not in force, because it is not sound."
        self._problems = Children(gauge(registry, "reload_problem", told, "file"), FILES)
        self._problems.begin(*FILES)

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
