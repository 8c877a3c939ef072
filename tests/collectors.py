"""A collector of OpenTelemetry that runs in the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "attributes", "collecting", "trace_ids"]


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """The spans that were sent, and for each of them what sent it.

    `called` is set when some have come.
    """

    address: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def Export(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        for group in request.resource_spans:
            told = {each.key: each.value.string_value for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += scope.spans
                self.resources += [told] * len(scope.spans)
        self.called.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens on a free port while the block runs."""
    collector, server = Collector(), grpc.aio.server()
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def trace_ids(spans: Sequence[Span]) -> list[str]:
    """The traces of spans, as logs write them."""
    return [span.trace_id.hex() for span in spans]


def attributes(span: Span) -> dict[str, Any]:
    """What is told of a call, by its names."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "")
        for each in span.attributes
    }
