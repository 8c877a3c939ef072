"""Builds the server and runs it: listeners, health, reflection, drain."""

import asyncio
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from liquidation.background import StoreHealth, settle_claims
from liquidation.claims import Claims
from liquidation.core.policy import Policy, policy_record
from liquidation.desk import Desk
from liquidation.logs.masking import Masking, Sampling
from liquidation.logs.sink import LogSink, Turns
from liquidation.logs.writer import DecisionLog
from liquidation.register import Register
from liquidation.service.claim_servicer import claim_service
from liquidation.service.guards import Guard
from liquidation.service.liquidation_servicer import liquidation_service
from liquidation.service.rpc import PlainCalls, Service, Unfinished
from liquidation.service.rules_servicer import rules_service
from liquidation.settings import Settings
from liquidation.store.base import Store, StoreError
from liquidation.store.clock import HostClock
from liquidation.store.sqlite import SqliteStore

__all__ = [
    "ListenError",
    "Sidecar",
    "StoreError",
    "Worker",
    "end_on_signal",
    "print_serving",
    "serve",
    "sidecar",
]

# How long calls in progress may take to end once the server drains, in seconds.
DRAIN_S: Final = 10.0
# How long the log may take to be written out at the end, in seconds.
_LOG_PATIENCE_S: Final = 5.0
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
    settings: Settings
    policy: Policy

    def tell(self, event: str) -> None:
        """Tells in the log that calls are accepted, and the rules by which they are decided."""
        self.log.note("info", event, **_facts(self.settings, self.policy, self.addresses))
        self.log.note("info", "rules", rules=policy_record(self.policy))


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several servers that share a port; `log_turn` is a file that they lock to log."""

    index: int
    log_turn: Path


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
    end_on_signal(ended)
    async with sidecar(settings, policy):
        await ended.wait()


def end_on_signal(ended: asyncio.Event) -> None:
    """Sets `ended` when this process is told to end, by SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)


@asynccontextmanager
async def sidecar(
    settings: Settings, policy: Policy, worker: Worker | None = None
) -> AsyncIterator[Sidecar]:
    """A server that accepts calls while the block runs, and drains at its end; see `serve`.

    A `worker` shares its addresses with others, and tells that it serves when it is told to.
    """
    process = secrets.token_hex(8)
    sink = LogSink(
        _log_descriptor(settings),
        lambda lost: _gap_line(process, 0 if worker is None else worker.index, lost),
        turns=None if worker is None else Turns(worker.log_turn),
    )
    log = DecisionLog(
        sink,
        process,
        0 if worker is None else worker.index,
        _now,
        Masking(settings.log_redact, settings.log_redact_key),
        Sampling(settings.log_sample),
    )
    _reopen_on_hangup(settings, sink, log)
    try:
        store = SqliteStore(settings.store, HostClock())
        try:
            async with _listening(settings, policy, log, store, worker) as addresses:
                running = Sidecar(addresses, log, settings, policy)
                if worker is None:
                    running.tell("serving")
                    if settings.log_file is not None:
                        print_serving(settings, policy, addresses)
                yield running
        finally:
            await store.aclose()
    finally:
        lost = await asyncio.to_thread(sink.close, _LOG_PATIENCE_S)
        if lost:
            print(f"liquidation: {lost} log lines were lost", file=sys.stderr)


@asynccontextmanager
async def _listening(
    settings: Settings, policy: Policy, log: DecisionLog, store: Store, worker: Worker | None
) -> AsyncIterator[tuple[str, ...]]:
    unfinished = Unfinished()
    services, claims = _services(policy, log, store, unfinished)
    server = grpc.aio.server(
        options=(
            # Two servers on one port would share its calls without anybody noticing.
            ("grpc.so_reuseport", 0 if worker is None else 1),
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
    addresses = tuple(
        _bind(server, address)
        for address in settings.listen
        if worker is None or worker.index == 0 or not address.startswith("unix:")
    )
    store_health = StoreHealth(store, health_servicer, names, log)
    await store_health.refresh()
    await server.start()
    background = [
        asyncio.create_task(store_health.run()),
        asyncio.create_task(settle_claims(claims, log)),
    ]
    try:
        yield addresses
    finally:
        log.note("info", "draining")
        for task in background:
            task.cancel()
        await health_servicer.enter_graceful_shutdown()
        await server.stop(DRAIN_S)
        await unfinished.drained()
        log.note("info", "stopped", log_lines_lost=log.lost)


def _services(
    policy: Policy, log: DecisionLog, store: Store, unfinished: Unfinished
) -> tuple[tuple[Service, ...], Claims]:
    numbers = count(1)

    def new_id() -> str:
        return f"{log.process}-{next(numbers)}"

    guard = Guard(policy.limits.max_concurrent_calls)
    largest = policy.limits.max_request_bytes
    calls = PlainCalls(log, guard, unfinished, largest, new_id, time.monotonic_ns)
    desk = Desk(store, policy, log, new_id, time.monotonic_ns)
    register = Register(store, log, new_id, time.monotonic_ns)
    claims = Claims(
        store, policy, log, register, new_id, lambda: uuid.uuid4().hex, time.monotonic_ns
    )
    services = (
        rules_service(desk, guard, calls, time.monotonic_ns),
        liquidation_service(register, calls),
        claim_service(claims, guard, unfinished, calls, largest, time.monotonic_ns),
    )
    return services, claims


def _bind(server: grpc.aio.Server, address: str) -> str:
    """Listens on `address`; returns it with the port that was given for port 0."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address}: is it in use?") from error
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _log_descriptor(settings: Settings) -> int:
    if settings.log_file is None:
        return os.dup(sys.stdout.fileno())
    return os.open(settings.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


def _reopen_on_hangup(settings: Settings, sink: LogSink, log: DecisionLog) -> None:
    """On SIGHUP the log file is opened again, which is what follows its being moved away."""

    def reopen() -> None:
        if settings.log_file is None:
            return
        try:
            sink.switch_to(_log_descriptor(settings))
        except OSError as error:
            # Lines go on to the file that was moved away.
            log.note("error", "log_not_reopened", problem=str(error))
        else:
            log.note("info", "log_reopened")

    # Signals are the main thread's; a server that runs elsewhere, as in tests, gets none.
    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reopen)


def print_serving(settings: Settings, policy: Policy, addresses: tuple[str, ...]) -> None:
    """Says on standard output, in one JSON line, that calls are accepted."""
    line = {"timestamp": _now(), "level": "info", "event": "serving"}
    print(orjson.dumps(line | _facts(settings, policy, addresses)).decode(), flush=True)


def _facts(settings: Settings, policy: Policy, addresses: tuple[str, ...]) -> dict[str, Any]:
    return {
        "addresses": list(addresses),
        "pid": os.getpid(),
        "workers": settings.workers,
        "rules_version": policy.version,
        "store": f"sqlite:{settings.store}",
    }


def _gap_line(process: str, worker: int, lost: int) -> bytes:
    line = {
        "timestamp": _now(),
        "level": "error",
        "event": "log_lines_lost",
        "lost": lost,
        "process": process,
        "worker": worker,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _now() -> str:
    """The time as RFC 3339 text, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
