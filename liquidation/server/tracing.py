"""Spans of calls, made by OpenTelemetry's own instrumentation of gRPC. Needs the extra `otel`."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import service_prefix
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from liquidation.api.door import Metadata, trace_id_of

__all__ = ["current_trace_id", "exported"]

# Only these services make spans: health checks come each few seconds, and nobody follows them.
_TRACED: Final = "liquidation."
# How long a collector may take at the end, in seconds; OpenTelemetry's own bound is thirty.
_PATIENCE_S: Final = 2.0


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of OpenTelemetry's is more than what it says of each stream that is cut.

    What iterates such a stream last is not what began it, so its span cannot be taken out of a
    context that is gone anyway. The span itself is ended and sent.
    """
    return record.msg != "Failed to detach context"


@contextmanager
def exported() -> Iterator[grpc.aio.ServerInterceptor]:
    """The interceptor that makes a span of each call; what is not sent yet is sent at the end.

    Where spans go, and under which name of the service, is told by the standard OTEL_* variables,
    which OpenTelemetry reads itself. A collector that does not answer delays no call.
    """
    logging.getLogger("opentelemetry.context").addFilter(_is_news)
    resource = Resource({SERVICE_NAME: "liquidation"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        intercept: Any = aio_server_interceptor
        yield intercept(provider, filter_=service_prefix(_TRACED))
    finally:
        # It ends what the exporter waits for: an answer, or the time to try again.
        giving_up = threading.Timer(_PATIENCE_S, exporter.shutdown)
        giving_up.start()
        provider.shutdown()
        giving_up.cancel()


def current_trace_id(metadata: Metadata) -> str:
    """The trace id of the span of this call, which is the caller's where they sent one."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else trace_id_of(metadata)
