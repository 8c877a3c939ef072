"""Numbers about the service, for Prometheus; docs/reference/metrics.md lists them.

This file needs no more than the service does. What is behind `new_metrics` and `new_workers` needs
prometheus_client, the extra `metrics`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from liquidation import needs_extra
from liquidation.decisionlog.observer import Observer

if TYPE_CHECKING:
    from liquidation.metrics.exposition import Workers
    from liquidation.metrics.prometheus import Metrics

__all__ = ["FILES", "Instruments", "MetricsError", "new_metrics", "new_workers"]

# What is read again when it changes, as it is counted.
FILES: Final = ("rules", "candidate_rules", "api_keys", "tls")


class MetricsError(Exception):
    """Metrics cannot be served; the text says why."""


class Instruments(Observer):
    """Is told what is counted and measured; this one does neither.

    From any thread: of calls, of the store, and of what goes on beside them.
    """

    def committed(self, size: int, seconds: float) -> None:
        """A group of `size` writes is on disk; a `store.base.CommitObserver`."""

    def watch(
        self, calls_in_progress: Callable[[], int], log_lines_lost: Callable[[], int]
    ) -> None:
        """Numbers that are asked for at each scrape, on a thread of its own."""

    def claims_active(self, count: int) -> None:
        """How many claims the store has that are active now."""

    def rules_in_force(self, version: str, candidate: str | None) -> None:
        """The rules that decide from now on, and those that are compared with them, if any."""

    def reloaded(self, name: str, problem: str) -> None:
        """A file was read again; `name` is of `FILES`, `problem` is "" if it was taken."""

    def serves(self, serving: bool, /) -> None:  # noqa: FBT001 - it is the value itself
        """Whether health says SERVING."""

    def certificate(self, not_after: float | None) -> None:
        """When the certificate in use runs out, in seconds since 1970; None without TLS."""


def new_metrics() -> "Metrics":
    """Instruments of one process that count and measure.

    Raises:
        MetricsError: prometheus_client is not installed.
    """
    try:
        from liquidation.metrics.prometheus import Metrics  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return Metrics()


def new_workers(count: int) -> "Workers":
    """What gathers the metrics of `count` workers, numbered from 0.

    Raises:
        MetricsError: prometheus_client is not installed.
    """
    try:
        from liquidation.metrics.exposition import Workers  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return Workers(count)


def _missing(error: ModuleNotFoundError) -> Exception:
    if error.name != "prometheus_client":
        return error
    return MetricsError(needs_extra("--metrics-listen", "metrics"))
