"""Spans of calls, by the API of OpenTelemetry. Needs the extra `otel`."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from liquidation.api.admission import trace_id_of
from liquidation.transport import (
    Call,
    EndedCall,
    Exchange,
    Handler,
    Metadata,
    Step,
    Subscription,
    Unary,
    Work,
)

# How long a collector may take at the end, in seconds; OpenTelemetry's own bound is thirty.
_PATIENCE_S: Final = 2.0

_STATUS_CODE: Final = "rpc.grpc.status_code"
_OK: Final = 0
_FAULT: Final = grpc.StatusCode.INTERNAL.value[0]
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# The codes that say that a server failed, and not its caller (OpenTelemetry's conventions for RPC).
_FAILURES: Final = {
    code.value[0]
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
}
_LOOPBACK: Final = ("127.0.0.1", "[::1]")


@contextmanager
def exported() -> Iterator["Tracing"]:
    """Makes a span of each call of the handlers it is given; what is not sent is sent at the end.

    Where spans go, and under which name of the service, is told by the standard OTEL_* variables,
    which OpenTelemetry reads itself. A collector that does not answer delays no call.
    """
    resource = Resource({SERVICE_NAME: "liquidation"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracing(provider.get_tracer("liquidation"))
    finally:
        # It ends what the exporter waits for: an answer, or the time to try again.
        giving_up = threading.Timer(_PATIENCE_S, exporter.shutdown)
        giving_up.start()
        provider.shutdown()
        giving_up.cancel()


def trace_id(call: Call) -> str:
    """The trace id of the span of this call, which is the caller's if they sent one."""
    return call.trace_id if isinstance(call, TracedCall) else trace_id_of(call)


class TracedCall:
    """A call with its span, which ends when the call is answered or over."""

    __slots__ = ("_call", "_span", "code", "trace_id")

    def __init__(self, call: Call, span: Span) -> None:
        self._call = call
        self._span = span
        self.code = _OK
        context = span.get_span_context()
        self.trace_id = (
            trace.format_trace_id(context.trace_id) if context.is_valid else trace_id_of(call)
        )

    @property
    def method(self) -> str:
        return self._call.method

    @property
    def metadata(self) -> Metadata:
        return self._call.metadata

    @property
    def peer(self) -> str:
        return self._call.peer

    @property
    def cancelled(self) -> bool:
        return self._call.cancelled

    @property
    def unsent(self) -> int:
        return self._call.unsent

    def time_remaining(self) -> float | None:
        return self._call.time_remaining()

    def reply(self, message: bytes) -> bool:
        taken = self._call.reply(message)
        if taken:
            self.end(_OK, "")
        return taken

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        self._call.refuse(code, message, trailers)
        self.end(code, message)

    def set_trailers(self, trailers: Metadata) -> None:
        self._call.set_trailers(trailers)

    def send(self, message: bytes) -> bool:
        return self._call.send(message)

    def send_latest(self, message: bytes) -> None:
        self._call.send_latest(message)

    def resume(self) -> None:
        self._call.resume()

    def end(self, code: int, message: str) -> None:
        """Ends the span with the status of the call; the first one counts."""
        self.code = code
        span = self._span
        if not span.is_recording():
            return
        span.set_attribute(_STATUS_CODE, code)
        if code in _FAILURES:
            span.set_status(Status(StatusCode.ERROR, f"{_CODES[code]}:{message}"))
        span.end()

    def fail(self, error: BaseException) -> None:
        """Ends the span because the handler failed."""
        self._span.record_exception(error)
        self.end(_FAULT, "")


class Tracing:
    """Wraps handlers, so that each of their calls has a span.

    On the thread that answers, but for what a traced call is told from others.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # The streams that are open: their handlers see the same call each time.
        self._streams: dict[Call, TracedCall] = {}

    def traced(self, handlers: Mapping[str, Handler]) -> Mapping[str, Handler]:
        """The handlers by the same paths, whose calls have spans."""
        return {path: self._traced(handler) for path, handler in handlers.items()}

    def _traced(self, handler: Handler) -> Handler:
        if isinstance(handler, Unary):
            return self._unary(handler)
        if isinstance(handler, Exchange):
            return self._exchange(handler)
        return self._subscription(handler)

    def _unary(self, handler: Unary) -> Unary:
        def handle(call: Call, message: bytes) -> Work:
            traced = self._begin(call)
            return _watched(traced, lambda: handler.handle(traced, message))

        return Unary(handle)

    def _exchange(self, handler: Exchange) -> Exchange:
        def handle(call: Call, messages: Sequence[bytes]) -> Work:
            traced = self._stream(call)
            return _watched(traced, lambda: handler.handle(traced, messages))

        def closed(call: EndedCall) -> None:
            traced = self._close(call)
            if handler.closed is not None:
                handler.closed(traced)

        return Exchange(handle, closed)

    def _subscription(self, handler: Subscription) -> Subscription:
        def handle(call: Call, message: bytes) -> None:
            traced = self._stream(call)
            _watched(traced, lambda: handler.handle(traced, message))

        def closed(call: EndedCall) -> None:
            handler.closed(self._close(call))

        return Subscription(handle, closed)

    def _begin(self, call: Call) -> TracedCall:
        span = self._tracer.start_span(
            call.method, _parent(call.metadata), SpanKind.SERVER, _attributes(call)
        )
        return TracedCall(call, span)

    def _stream(self, call: Call) -> TracedCall:
        found = self._streams.get(call)
        if found is None:
            found = self._streams[call] = self._begin(call)
        return found

    def _close(self, call: EndedCall) -> TracedCall:
        traced = self._stream(call)
        del self._streams[call]
        traced.end(call.code, "")
        return traced


def _watched(traced: TracedCall, handle: Callable[[], Work]) -> Work:
    """Runs a handler; the span ends if it fails, now or in one of its chunks."""
    try:
        work = handle()
    except BaseException as error:
        traced.fail(error)
        raise
    return None if work is None else _watched_work(traced, work)


def _watched_work(traced: TracedCall, work: Iterator[Step]) -> Iterator[Step]:
    try:
        yield from work
    except GeneratorExit:
        raise
    except BaseException as error:
        traced.fail(error)
        raise


def _parent(metadata: Metadata) -> Context:
    return propagate.extract({key: value for key, value in metadata if isinstance(value, str)})


def _attributes(call: Call) -> dict[str, AttributeValue]:
    service, _, method = call.method.lstrip("/").partition("/")
    attributes: dict[str, AttributeValue] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        _STATUS_CODE: _OK,
    }
    for key, value in call.metadata:
        if key == "user-agent" and isinstance(value, str):
            attributes["rpc.user_agent"] = value
    kind, _, where = call.peer.partition(":")
    if kind != "unix":
        ip, _, port = where.rpartition(":")
        attributes["net.peer.ip"] = ip = unquote(ip)
        attributes["net.peer.port"] = port
        if ip in _LOOPBACK:
            attributes["net.peer.name"] = "localhost"
    return attributes
