"""Builds the server and runs it: listeners, health, reflection, drain."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Final

import grpc
import orjson
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from liquidation.core.policy import Policy
from liquidation.desk import Desk
from liquidation.logs.sink import LogSink
from liquidation.logs.writer import DecisionLog
from liquidation.register import Register
from liquidation.service.guards import Guard
from liquidation.service.liquidation_servicer import liquidation_service
from liquidation.service.rpc import PlainCalls, Service
from liquidation.service.rules_servicer import rules_service
from liquidation.settings import Settings
from liquidation.store.base import Store, StoreUnavailableError
from liquidation.store.sqlite import SqliteStore

__all__ = ["ListenError", "Sidecar", "serve", "sidecar"]

# How long calls in progress may take to end once the server drains, in seconds.
DRAIN_S: Final = 10.0
# How long the log may take to be written out at the end, in seconds.
_LOG_PATIENCE_S: Final = 5.0
# How often the store is asked whether it answers, in seconds.
_PROBE_S: Final = 1.0
# A request over the service's own limit gets -1005 and its log line; only one that is several times
# larger is cut off by gRPC itself.
_TRANSPORT_FACTOR: Final = 4


class ListenError(Exception):
    """An address that the server cannot listen on."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A server that accepts calls."""

    addresses: tuple[str, ...]
    log: DecisionLog


def serve(settings: Settings, policy: Policy) -> None:
    """Serves until SIGTERM or SIGINT, then drains: new calls are refused, those begun end.

    Raises:
        ListenError: an address cannot be listened on.
        StoreError: the store cannot be used.
        OSError: the log file cannot be opened.
    """
    asyncio.run(_serve(settings, policy))


async def _serve(settings: Settings, policy: Policy) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with sidecar(settings, policy):
        await ended.wait()


@asynccontextmanager
async def sidecar(settings: Settings, policy: Policy) -> AsyncIterator[Sidecar]:
    """A server that accepts calls while the block runs, and drains at its end; see `serve`."""
    process = secrets.token_hex(8)
    sink = LogSink(_log_descriptor(settings), lambda lost: _gap_line(process, lost))
    log = DecisionLog(sink, process, _now)
    try:
        store = SqliteStore(settings.store, lambda: time.time_ns() // 1000)
        try:
            async with _listening(settings, policy, log, store, process) as addresses:
                _announce(settings, log, policy, addresses)
                yield Sidecar(addresses, log)
        finally:
            await store.aclose()
    finally:
        lost = await asyncio.to_thread(sink.close, _LOG_PATIENCE_S)
        if lost:
            print(f"liquidation: {lost} log lines were lost", file=sys.stderr)


@asynccontextmanager
async def _listening(
    settings: Settings, policy: Policy, log: DecisionLog, store: Store, process: str
) -> AsyncIterator[tuple[str, ...]]:
    services = _services(policy, log, store, process)
    server = grpc.aio.server(
        options=(
            # Two servers on one port would share its calls without anybody noticing.
            ("grpc.so_reuseport", 0),
            (
                "grpc.max_receive_message_length",
                _TRANSPORT_FACTOR * policy.limits.max_request_bytes,
            ),
            ("grpc.max_send_message_length", -1),
        )
    )
    server.add_generic_rpc_handlers(services)
    names = [service.name for service in services]
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    addresses = tuple(_bind(server, address) for address in settings.listen)
    await server.start()
    watch = asyncio.create_task(
        _watch(store, health_servicer, [*names, health.OVERALL_HEALTH], log)
    )
    try:
        yield addresses
    finally:
        log.note("info", "draining")
        watch.cancel()
        await health_servicer.enter_graceful_shutdown()
        await server.stop(DRAIN_S)
        log.note("info", "stopped", log_lines_lost=log.lost)


def _services(policy: Policy, log: DecisionLog, store: Store, process: str) -> tuple[Service, ...]:
    numbers = count(1)

    def new_id() -> str:
        return f"{process}-{next(numbers)}"

    guard = Guard(policy.limits.max_concurrent_calls)
    calls = PlainCalls(log, guard, policy.limits.max_request_bytes, new_id, time.monotonic_ns)
    desk = Desk(store, policy, log, new_id, time.monotonic_ns)
    register = Register(store, log, new_id, time.monotonic_ns)
    return (
        rules_service(desk, guard, calls, time.monotonic_ns),
        liquidation_service(register, calls),
    )


def _bind(server: grpc.aio.Server, address: str) -> str:
    """Listens on `address`; returns it with the port that was given for port 0."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address}: is it in use?") from error
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


async def _watch(
    store: Store, servicer: health.aio.HealthServicer, names: list[str], log: DecisionLog
) -> None:
    """Keeps health true: serving exactly while the store answers."""
    serving = None
    while True:
        try:
            await store.probe()
            answers = True
        except StoreUnavailableError as error:
            answers = False
            if serving is not False:
                log.note("error", "store_unavailable", problem=str(error))
        if answers is not serving:
            status = health_pb2.HealthCheckResponse
            for name in names:
                await servicer.set(name, status.SERVING if answers else status.NOT_SERVING)
            if serving is False:
                log.note("info", "store_available")
            serving = answers
        await asyncio.sleep(_PROBE_S)


def _log_descriptor(settings: Settings) -> int:
    if settings.log_file is None:
        return os.dup(sys.stdout.fileno())
    return os.open(settings.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


def _announce(
    settings: Settings, log: DecisionLog, policy: Policy, addresses: tuple[str, ...]
) -> None:
    """Says that calls are accepted: one line on standard output, and one in the log."""
    facts = {
        "addresses": list(addresses),
        "pid": os.getpid(),
        "rules_version": policy.version,
        "store": f"sqlite:{settings.store}",
    }
    log.note("info", "serving", **facts)
    if settings.log_file is not None:
        line = {"timestamp": _now(), "level": "info", "event": "serving", **facts}
        print(orjson.dumps(line).decode(), flush=True)


def _gap_line(process: str, lost: int) -> bytes:
    line = {
        "timestamp": _now(),
        "level": "error",
        "event": "log_lines_lost",
        "lost": lost,
        "process": process,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _now() -> str:
    """The time as RFC 3339 text, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
