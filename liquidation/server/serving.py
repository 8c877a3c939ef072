"""Runs the server: its parts in order, its signals, and its drain."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import grpc
import orjson
import uvloop
from grpc_health.v1 import health_pb2_grpc

from liquidation.api.door import Metadata, trace_id_of
from liquidation.api.guards import Guard
from liquidation.config.addresses import parse_address
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.config.watched_file import watch
from liquidation.decisionlog import opening
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments, new_metrics
from liquidation.server import grpc_server
from liquidation.server.background import Health, HealthServicer, LeaseReaper, shed
from liquidation.server.gc_freeze import freeze_gc
from liquidation.server.listeners import owned, require_encryption, require_loopback
from liquidation.server.reload_reporter import ReloadReporter
from liquidation.server.services import Services, put_together
from liquidation.store.base import Store
from liquidation.store.opening import open_store

__all__ = [
    "Sidecar",
    "StartError",
    "end_on_signal",
    "held",
    "print_serving",
    "serve",
    "serving_facts",
    "sidecar",
]

_OTLP: Final = "otlp"
_MIB: Final = 1 << 20
# How long it takes at most until clients know that their connection ends, in seconds.
_GOODBYE_S: Final = 0.02


class StartError(Exception):
    """Something that is asked for is not installed; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A server that accepts calls."""

    addresses: tuple[str, ...]
    metrics_address: str | None
    log: DecisionLog
    settings: Settings
    in_force: LiveConfig
    _changes: ReloadReporter

    def tell(self, event: str) -> None:
        """Tells in the log that calls are accepted, and the rules by which they are decided."""
        self.log.note("info", event, **self.facts())
        self._changes.begin(self.in_force)

    def facts(self) -> dict[str, Any]:
        """What is told of a server that serves."""
        version = self.in_force.policy().version
        return serving_facts(self.settings, version, self.addresses, self.metrics_address)


def serve(settings: Settings, configuration: Configuration) -> None:
    """Serves until SIGTERM or SIGINT, then drains: new calls are refused, those begun end.

    Raises:
        ListenError: an address cannot be listened on.
        StoreError: the store cannot be used.
        LogbookError: the log file cannot be opened.
        StartError: what is asked for is not installed.
    """
    uvloop.run(_serve(settings, configuration))


async def _serve(settings: Settings, configuration: Configuration) -> None:
    ended = asyncio.Event()
    end_on_signal(ended)
    with held(settings):
        async with sidecar(settings, configuration):
            freeze_gc()
            await ended.wait()


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


def end_on_signal(ended: asyncio.Event) -> None:
    """Sets `ended` when this process is told to end, by SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)


@asynccontextmanager
async def sidecar(
    settings: Settings,
    configuration: Configuration,
    place: opening.WorkerInfo | None = None,
    scraped: Connection | None = None,
) -> AsyncIterator[Sidecar]:
    """A server that accepts calls while the block runs, and drains at its end; see `serve`.

    One of several workers has a `place`: it shares its addresses with others, and tells that it
    serves when it is told to. Its metrics go to its supervisor over `scraped`.
    """
    async with AsyncExitStack() as parts:
        instruments, endpoint = parts.enter_context(_instruments(settings, scraped))
        book = await parts.enter_async_context(opening.open_log(settings, place, instruments))
        changes = ReloadReporter(book.log, instruments)
        in_force = LiveConfig(settings, configuration, _utc, changes)
        _heed_signals(book, in_force)
        store = await open_store(
            settings.store,
            timeout_s=settings.store_timeout,
            connections=settings.store_connections,
            committed=instruments.committed,
        )
        parts.push_async_callback(store.aclose)
        guard = Guard(in_force.limits, in_force.keys, _utc, time.monotonic)
        instruments.watch(lambda: guard.in_progress, lambda: book.log.lost)
        spans = parts.enter_context(_spans(settings))
        services = put_together(
            in_force,
            guard,
            book.log,
            store,
            instruments,
            settings.max_call_time,
            spans.trace_id,
            settings.max_memory * _MIB,
        )
        server = grpc_server.server_of(
            settings, in_force, services.handlers, spans.interceptors, shared=place is not None
        )
        unix_too = place is None or place.worker == 0
        addresses = grpc_server.bound(server, settings, in_force, unix_too=unix_too)
        running = Sidecar(addresses, endpoint, book.log, settings, in_force, changes)
        beside = _Beside(services, store, in_force, book.log, instruments)
        await parts.enter_async_context(_running(server, beside, settings.drain_time))
        if place is None:
            running.tell("serving")
            if settings.log_file is not None:
                print_serving(running.facts())
        yield running


@dataclass(frozen=True, slots=True)
class _Beside:
    """What the server needs beside what answers calls."""

    services: Services
    store: Store
    in_force: LiveConfig
    log: DecisionLog
    instruments: Instruments


@asynccontextmanager
async def _running(server: grpc.aio.Server, beside: _Beside, drain_s: float) -> AsyncIterator[None]:
    """The server takes calls while the block runs; at its end those that have begun may end."""
    servicer = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    files, log = beside.in_force.files, beside.log
    services, instruments = beside.services, beside.instruments
    settling = LeaseReaper(services.claims, log)
    health = Health(beside.store, settling, files, servicer, services.writing, log, instruments)
    await health.refresh()
    await server.start()
    background = [
        asyncio.create_task(health.run()),
        asyncio.create_task(settling.run()),
        asyncio.create_task(shed(services.door.shedding, log)),
        asyncio.create_task(watch(files, lambda error: log.fault("", error))),
    ]
    try:
        yield
    finally:
        log.note("info", "draining")
        for task in background:
            task.cancel()
        instruments.serves(False)  # noqa: FBT003 - it is the value itself
        await servicer.end()
        beside.services.door.end_streams()
        async with beside.services.door.holding_answers() as held:
            stopping = asyncio.create_task(server.stop(drain_s))
            await asyncio.sleep(_GOODBYE_S if held else 0)
        await stopping
        await beside.services.unfinished.drained()
        log.note("info", "stopped", log_lines_lost=log.lost)


@contextmanager
def _instruments(
    settings: Settings, scraped: Connection | None
) -> Iterator[tuple[Instruments, str | None]]:
    """What counts and measures, and the address where this process serves it, if it does."""
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
    """How calls are traced."""

    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()
    trace_id: Callable[[Metadata], str] = trace_id_of


@contextmanager
def _spans(settings: Settings) -> Iterator[_Spans]:
    if settings.tracing != _OTLP:
        yield _Spans()
        return
    try:
        from liquidation.server import tracing  # noqa: PLC0415 - it needs an extra
    except ModuleNotFoundError as error:
        raise StartError("--tracing otlp needs pip install 'liquidation[otel]'") from error
    with tracing.exported() as interceptor:
        yield _Spans((interceptor,), tracing.current_trace_id)


def _heed_signals(book: opening.Logbook, in_force: LiveConfig) -> None:
    """On SIGHUP the log file is opened again, and all other files are read again."""

    def hang_up() -> None:
        book.reopen()
        in_force.reload()

    # Signals are the main thread's; a server that runs elsewhere, as in tests, gets none.
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        # It would end the process; where there are workers it is their supervisor's.
        loop.add_signal_handler(signal.SIGUSR2, _nothing_to_replace)


def _nothing_to_replace() -> None:
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
