"""Runs the server: its parts in order, its signals, and its drain."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import orjson

from liquidation import needs_extra
from liquidation.api.admission import trace_id_of
from liquidation.api.services import Services, build_services
from liquidation.config.addresses import UnixAccess, UnixAddress, parse_address
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog import opening
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments, new_metrics
from liquidation.server.listeners import (
    bind,
    channel_options,
    owned,
    require_encryption,
    require_loopback,
)
from liquidation.server.signals import attending
from liquidation.server.upkeep import Parts, ReloadReporter, Upkeep, freeze_gc, most_untaken
from liquidation.store.locations import open_store
from liquidation.transport import (
    Call,
    Handler,
    HealthTable,
    Server,
    open_server,
    reflection_handlers,
)

_OTLP: Final = "otlp"
_MIB: Final = 1 << 20


class StartError(Exception):
    """Something that is asked for is not installed; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A server that accepts calls."""

    addresses: tuple[str, ...]
    metrics_address: str | None
    log: DecisionLog
    settings: Settings
    live: LiveConfig
    _logbook: opening.Logbook
    _reporter: ReloadReporter
    # Why it does not run on the transport that was asked for, "" if it does.
    _fallback: str

    def tell(self, event: str) -> None:
        """Reports in the log that calls are accepted, and the rules that decide them."""
        self.log.note("info", event, **self.facts())
        if self._fallback:
            self.log.note("warning", "transport_fallback", problem=self._fallback)
        self._reporter.begin(self.live)

    def facts(self) -> dict[str, Any]:
        """What is told of a server that serves."""
        version = self.live.policy().version
        return serving_facts(self.settings, version, self.addresses, self.metrics_address)

    def hang_up(self) -> None:
        """Opens the log file again, and reads all other files again."""
        try:
            self._logbook.reopen()
            self.live.reload()
        except Exception as error:  # noqa: BLE001 - the process goes on, the fault is reported
            self.log.fault("", error)


def serve(settings: Settings, configuration: Configuration) -> None:
    """Serves until SIGTERM or SIGINT, then drains: new calls are refused, those begun end.

    Raises:
        ListenError: an address cannot be listened on.
        StoreError: the store cannot be used.
        LogbookError: the log file cannot be opened.
        StartError: what is asked for is not installed.
    """
    with (
        attending(nothing_to_replace) as attention,
        held(settings),
        sidecar(settings, configuration) as running,
    ):
        attention.heed_hang_ups(running.hang_up)
        freeze_gc()
        attention.ended.wait()


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Holds the addresses of the settings as this process's own; see `listeners.owned`.

    Raises:
        ListenError: one is another process's, or would serve other hosts in plain text.
    """
    addresses = [parse_address(text) for text in settings.listen]
    require_encryption(
        addresses,
        encrypted=settings.tls_cert is not None,
        allowed="calls" in settings.allow_plaintext_beyond_loopback,
    )
    if settings.metrics_listen is not None:
        allowed = "metrics" in settings.allow_plaintext_beyond_loopback
        require_loopback(parse_address(settings.metrics_listen), allowed=allowed)
    with owned(addresses):
        yield


@contextmanager
def sidecar(
    settings: Settings,
    configuration: Configuration,
    worker: opening.WorkerInfo | None = None,
    scraped: Connection | None = None,
) -> Iterator[Sidecar]:
    """A server that accepts calls while the block runs, and drains at its end; see `serve`.

    One of several processes is a `worker`: it shares its addresses with others, and tells that it
    serves when it is told to. Its metrics go to its supervisor over `scraped`. From any thread.
    """
    with ExitStack() as parts:
        instruments, endpoint = parts.enter_context(_instruments(settings, scraped))
        logbook = parts.enter_context(opening.open_log(settings, worker, instruments))
        log = logbook.log
        reporter = ReloadReporter(log, instruments)
        live = LiveConfig(settings, configuration, _utc, reporter)
        with _serving(settings, live, log, instruments, worker) as (addresses, fallback):
            running = Sidecar(addresses, endpoint, log, settings, live, logbook, reporter, fallback)
            if worker is None:
                running.tell("serving")
                if settings.log_file is not None:
                    print_serving(running.facts())
            yield running
        log.note("info", "stopped", log_lines_lost=log.lost)


@contextmanager
def _serving(
    settings: Settings,
    live: LiveConfig,
    log: DecisionLog,
    instruments: Instruments,
    worker: opening.WorkerInfo | None,
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Takes calls while the block runs, and drains; gives the addresses, and why it fell back."""

    def on_fault(error: BaseException) -> None:
        log.fault("", error)

    with ExitStack() as parts:
        store = open_store(
            settings.store,
            timeout_s=settings.store_timeout,
            connections=settings.store_connections,
            committed=instruments.committed,
            on_fault=on_fault,
        )
        parts.callback(store.close)
        spans = parts.enter_context(_spans(settings))
        services = build_services(
            live, log, store, instruments, settings.max_call_time, spans.trace_id
        )
        instruments.watch(lambda: services.admission.limiter.in_progress, lambda: log.lost)
        table = HealthTable()
        server, fallback = open_server(
            settings.transport,
            _handlers(spans.traced(services.handlers), table, services),
            channel_options(settings, live.limits().max_request_bytes, shared=worker is not None),
            on_fault,
            most_untaken(settings.max_memory * _MIB),
            settings.max_call_time,
        )
        addresses = _bound(server, settings, live, unix_too=worker is None or worker.worker == 0)
        made = Parts(settings, live, log, instruments, store, services, table)
        with _draining(made, server):
            yield addresses, fallback


@contextmanager
def _draining(parts: Parts, server: Server) -> Iterator[None]:
    """The server takes calls while the block runs; at its end those that have begun may end."""
    upkeep = Upkeep(parts, server)
    upkeep.refresh_health()
    server.start()
    upkeep.start()
    try:
        yield
    finally:
        parts.log.note("info", "draining")
        upkeep.end()
        server.drain(parts.settings.drain_time)


def _handlers(
    traced: Mapping[str, Handler], table: HealthTable, services: Services
) -> Mapping[str, Handler]:
    return {**traced, **table.handlers(), **reflection_handlers(services.names)}


def _bound(
    server: Server, settings: Settings, live: LiveConfig, *, unix_too: bool
) -> tuple[str, ...]:
    """Makes the server listen on its addresses; returns them with the ports that were given.

    Without `unix_too` those of Unix sockets are left to another process.

    Raises:
        ListenError: an address cannot be listened on.
    """
    access = UnixAccess(settings.unix_mode, settings.unix_owner)
    certificates = live.certificates_in_use()
    addresses = map(parse_address, settings.listen)
    return tuple(
        bind(server, address, certificates, access)
        for address in addresses
        if unix_too or not isinstance(address, UnixAddress)
    )


@contextmanager
def _instruments(
    settings: Settings, scraped: Connection | None
) -> Iterator[tuple[Instruments, str | None]]:
    if settings.metrics_listen is None:
        yield Instruments(), None
        return
    metrics = new_metrics()
    if scraped is not None:
        metrics.answer(scraped)
        yield metrics, None
        return
    endpoint = metrics.serve(settings.metrics_listen)
    try:
        yield metrics, endpoint.address
    finally:
        endpoint.close()


@dataclass(frozen=True, slots=True)
class _Spans:
    traced: Callable[[Mapping[str, Handler]], Mapping[str, Handler]] = lambda handlers: handlers
    trace_id: Callable[[Call], str] = trace_id_of


@contextmanager
def _spans(settings: Settings) -> Iterator[_Spans]:
    if settings.tracing != _OTLP:
        yield _Spans()
        return
    try:
        from liquidation.server import tracing  # noqa: PLC0415 - it needs an extra
    except ModuleNotFoundError as error:
        raise StartError(needs_extra("--tracing otlp", "otel")) from error
    with tracing.exported() as tracer:
        yield _Spans(tracer.traced, tracing.trace_id)


def nothing_to_replace() -> None:
    """Says that SIGUSR2, which would end the process otherwise, changes nothing here."""
    print(
        "liquidation: SIGUSR2 is for the supervisor of several workers, and changes nothing here",
        file=sys.stderr,
        flush=True,
    )


def print_serving(facts: dict[str, Any]) -> None:
    """Says on standard output, in one JSON line, that calls are accepted."""
    line = {"timestamp": opening.now(), "level": "info", "event": "serving"}
    print(orjson.dumps(line | facts).decode(), flush=True)


def serving_facts(
    settings: Settings, rules_version: str, addresses: tuple[str, ...], metrics: str | None
) -> dict[str, Any]:
    """What is told where calls are accepted; `metrics` is where those are, if they are served."""
    facts = {
        "addresses": list(addresses),
        "pid": os.getpid(),
        "workers": settings.workers,
        "rules_version": rules_version,
        "store": settings.store.told,
    }
    return facts if metrics is None else facts | {"metrics": metrics}


def _utc() -> datetime:
    return datetime.now(UTC)
