"""A real server in this process, and calls to it by the names of the API alone."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.config.live import read_configuration
from liquidation.config.settings import Settings
from liquidation.rules.policy import Policy
from liquidation.server import serving
from liquidation.store.locations import SqliteFile
from liquidation.v1 import claim_service_pb2, errors_pb2, liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.analysis.schema import problems_of_log

__all__ = ["SERVICES", "Refused", "Running", "details_of", "dial", "health", "held_up", "running"]

SERVICES = {
    service.name: service
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


@dataclass(frozen=True)
class Details:
    """What a google.rpc.Status carries, each at most once."""

    status: Any
    error: errors_pb2.LiquidationError
    info: Any
    bad_request: Any = None
    precondition: Any = None
    resource: Any = None
    retry: Any = None


_KINDS: dict[str, type[Message]] = {
    "error": errors_pb2.LiquidationError,
    "info": error_details_pb2.ErrorInfo,
    "bad_request": error_details_pb2.BadRequest,
    "precondition": error_details_pb2.PreconditionFailure,
    "resource": error_details_pb2.ResourceInfo,
    "retry": error_details_pb2.RetryInfo,
}


def details_of(status: Any) -> Details:
    """The details of a status; fails where one is unknown or there twice."""
    found: dict[str, Message] = {}
    for packed in status.details:
        name, kind = next(
            (name, kind) for name, kind in _KINDS.items() if packed.Is(kind.DESCRIPTOR)
        )
        assert name not in found, f"{name} is there twice"
        found[name] = kind()
        assert AnyMessage.Unpack(packed, found[name])
    return Details(status, **found)  # type: ignore[arg-type]


class Refused(Exception):  # noqa: N818 - it is what the service says, not an error of the test
    """A call that ended with a gRPC error."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.grpc_code = error.code()
        self.message = error.details()
        self.trailers = dict(error.trailing_metadata() or ())
        data = self.trailers.get("grpc-status-details-bin")
        self.details = details_of(status_pb2.Status.FromString(data)) if data else None

    @property
    def code(self) -> int:
        assert self.details is not None, self.message
        return self.details.error.code


@dataclass(frozen=True)
class Running:
    """A server that runs, a channel to it, and its log."""

    address: str
    channel: Any
    log_file: Path

    async def call(self, name: str, request: Message, timeout: float | None = 30) -> Any:
        """The response of `Service.Method`, or raises `Refused`."""
        response = await self.raw(name, request.SerializeToString(), timeout)
        service, method = name.split(".")
        output = SERVICES[service].methods_by_name[method].output_type
        return message_factory.GetMessageClass(output).FromString(response)

    async def raw(self, name: str, request: bytes, timeout: float | None = 30) -> bytes:
        """As `call`, with the bytes as they are."""
        service, method = name.split(".")
        call = self.channel.unary_unary(f"/liquidation.v1.{service}/{method}")
        try:
            response: bytes = await call(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        return response

    async def check(self, request: Message) -> Any:
        """The response of CheckClaim, or raises `Refused`."""
        return await self.call("LiquidationRulesService.CheckClaim", request)

    async def refused(
        self, request: Message, name: str = "LiquidationRulesService.CheckClaim"
    ) -> Refused:
        """The refusal of a call that must be refused."""
        try:
            response = await self.call(name, request)
        except Refused as refused:
            return refused
        raise AssertionError(f"accepted: {response}")

    async def lines(
        self, event: str = "decision", count: int | None = None
    ) -> list[dict[str, Any]]:
        """The log's lines of one event, once there are `count` of them at least."""
        while True:
            text = self.log_file.read_text()
            complete = text[: text.rfind("\n") + 1].splitlines()
            lines = [line for line in map(json.loads, complete) if line["event"] == event]
            if count is None or len(lines) >= count:
                return lines
            await asyncio.sleep(0.005)


def dial(address: str) -> Any:
    """A channel on which bytes are sent and received as they are, by paths.

    It has a connection of its own; gRPC would let all channels of a process share one.
    """
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(address, options=options)


def health(channel: Any, service: str, *, wait_for_ready: bool = False) -> Any:
    """The health of a service, as it changes."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return stub.Watch(request, wait_for_ready=wait_for_ready)


@asynccontextmanager
async def held_up(server: Running) -> AsyncIterator[None]:
    """Meanwhile one call is in progress: a put, which waits for another writer of the store."""
    snapshot = samples.snapshot(samples.low())
    put = liquidation_service_pb2.PutLiquidationRequest(liquidation=snapshot)
    store = server.log_file.with_name("store.db")
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held = asyncio.create_task(server.call("LiquidationService.PutLiquidation", put))
        ask = server.channel.unary_unary("/liquidation.v1.LiquidationRulesService/GetRules")
        while await ask(b"").code() is grpc.StatusCode.OK:
            pass
        yield
        other.execute("ROLLBACK")
    await held


@asynccontextmanager
async def _in_a_thread(
    sidecar: AbstractContextManager[serving.Sidecar],
) -> AsyncIterator[serving.Sidecar]:
    """Starts and drains a server on other threads: its callers are on this one's event loop."""
    started = await asyncio.to_thread(sidecar.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(sidecar.__exit__, None, None, None)


@asynccontextmanager
async def running(
    directory: Path, policy: Policy | None = None, **told: Any
) -> AsyncIterator[Running]:
    """A server on a free port of loopback, with its store and log in `directory`.

    `told` are further settings, another `store` among them; without a file of rules, `policy`
    decides. At its end the log is held against the schema of its lines.
    """
    log_file = directory / "decisions.log"
    told = {"store": SqliteFile(directory / "store.db"), **told}
    settings = Settings(listen=("127.0.0.1:0",), log_file=log_file, **told)
    configuration = read_configuration(settings, lambda: datetime.now(UTC))
    if policy is not None:
        configuration = replace(configuration, policy=policy)
    async with _in_a_thread(serving.sidecar(settings, configuration)) as sidecar:
        address = sidecar.addresses[0]
        async with dial(address) as channel:
            yield Running(address, channel, log_file)
    if log_file.exists():
        assert problems_of_log(log_file) == []
