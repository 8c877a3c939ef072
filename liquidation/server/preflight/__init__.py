"""What would keep a server from starting, or surprise whoever starts it: `serve --check`.

Everything is looked at and nothing is changed: no file is made, no address is listened on, no
schema is migrated, and a service that runs with the same settings goes on as if nobody looked. What
counts is what the user may do who asks; that should be the user who will run the server.
"""

from collections.abc import Iterator
from datetime import datetime

from liquidation import needs_extra
from liquidation.config.settings import Settings
from liquidation.metrics import MetricsError, new_metrics
from liquidation.server.preflight.addresses import listening, metrics_address
from liquidation.server.preflight.files import (
    api_keys,
    candidate_rules,
    certificates,
    decision_log,
    rules,
    store,
)
from liquidation.server.preflight.finding import Finding, State, note, ok, wrong

__all__ = ["Finding", "State", "findings"]


def findings(settings: Settings, now: datetime) -> Iterator[Finding]:
    """All that is to be told of `settings` at `now`, a time with a zone; something of each part."""
    yield from listening(settings)
    yield from certificates(settings, now)
    yield from api_keys(settings, now)
    yield from rules(settings, now)
    yield from candidate_rules(settings, now)
    yield from store(settings)
    yield decision_log(settings)
    yield from _metrics(settings)
    yield _tracing(settings)
    yield _workers(settings)


def _metrics(settings: Settings) -> Iterator[Finding]:
    if settings.metrics_listen is None:
        yield ok("metrics", "off")
        return
    yield metrics_address(settings)
    try:
        new_metrics()
    except MetricsError as error:
        yield wrong("metrics", str(error))


def _tracing(settings: Settings) -> Finding:
    if settings.tracing == "off":
        return ok("tracing", "off")
    try:
        from liquidation.server import tracing  # noqa: F401, PLC0415 - it needs an extra
    except ModuleNotFoundError:
        return wrong("tracing", needs_extra("--tracing otlp", "otel"))
    return ok("tracing", "otlp; whether the collector answers is not asked")


def _workers(settings: Settings) -> Finding:
    number = settings.workers
    if number == 1:
        return ok("workers", "1 process")
    unix = any(address.startswith("unix:") for address in settings.listen)
    if unix:
        return note("workers", f"{number}, of which the first alone takes calls of unix: addresses")
    return ok("workers", f"{number}, and a process that supervises them")
