"""What every servicer shares: who calls, how an answer leaves, how methods are found."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from liquidation.core.model import Defect, Refusal
from liquidation.core.rules import unknown_parameter, wrong_format
from liquidation.desk import FAULT, STORE_NOT_REACHED
from liquidation.logs.lines import Call
from liquidation.logs.writer import DecisionLog
from liquidation.register import RefusedError
from liquidation.service import refusals, wire
from liquidation.service.guards import Guard
from liquidation.store.base import StoreUnavailableError
from liquidation.v1 import liquidation_pb2

__all__ = ["Context", "PlainCalls", "Service", "Stream", "Unary", "call_of", "refuse"]

Context = grpc.aio.ServicerContext[bytes, bytes]
Unary = Callable[[bytes, Context], Awaitable[bytes]]
Stream = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]
_M = TypeVar("_M", bound=Message)

_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS_KEY: Final = "grpc-status-details-bin"


class Service(grpc.GenericRpcHandler):
    """Finds the methods of a service by their paths.

    Messages stay bytes up to the servicer, so that bytes that are no message get an answer and a
    log line like any other request. Every method of the service has its handler, or this raises.
    """

    def __init__(
        self,
        descriptor: ServiceDescriptor,
        unary: Mapping[str, Unary],
        stream: Mapping[str, Stream],
    ) -> None:
        """`unary` and `stream` name the methods of `descriptor`.

        Raises:
            ValueError: a method has no handler, or a handler no method.
        """
        named = {method.name for method in descriptor.methods}
        if named != unary.keys() | stream.keys():
            raise ValueError(f"handlers of {descriptor.full_name} do not match its methods")
        self.name = descriptor.full_name
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(behaviour)
            for name, behaviour in unary.items()
        } | {
            name: grpc.stream_stream_rpc_method_handler(behaviour)
            for name, behaviour in stream.items()
        }
        self._handlers = {f"/{self.name}/{name}": each for name, each in handlers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None where it is not one of this service."""
        return self._handlers.get(handler_call_details.method)


def call_of(rpc: str, context: Context, started_ns: int) -> Call:
    """Who calls `rpc`, and whether they still wait for the answer."""

    def abandoned() -> bool:
        left = context.time_remaining()
        return left is not None and left <= 0

    return Call(rpc, context.peer(), _trace_id(context), started_ns, abandoned)


def refuse(
    context: Context, refusal: Refusal, decision: liquidation_pb2.Decision | None = None
) -> bytes:
    """Ends a unary call with a refusal; returns what the handler is to return."""
    status = refusals.status(refusal, decision)
    context.set_code(_STATUS_CODES[status.code])
    context.set_details(status.message)
    context.set_trailing_metadata(((_DETAILS_KEY, status.SerializeToString()),))
    return b""


class PlainCalls:
    """Makes handlers of calls that are no decision: one message in, one message or refusal out."""

    def __init__(
        self,
        log: DecisionLog,
        guard: Guard,
        max_request_bytes: int,
        new_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._log = log
        self._guard = guard
        self._max_request_bytes = max_request_bytes
        self._new_id = new_id
        self._monotonic_ns = monotonic_ns

    def unary(
        self,
        name: str,
        message_type: type[_M],
        behaviour: Callable[[_M, Call], Awaitable[Message]],
        on_refused: Callable[[_M, Refusal, Call], None] = lambda *_: None,
    ) -> Unary:
        """A handler that runs `behaviour`; what it raises becomes the refusal."""

        async def handle(data: bytes, context: Context) -> bytes:
            call = call_of(name, context, self._monotonic_ns())
            request = message_type()
            try:
                with self._guard.admit() as too_many:
                    if too_many is not None:
                        raise RefusedError(too_many)
                    request = self._read(message_type, data)
                    return (await behaviour(request, call)).SerializeToString()
            except RefusedError as refused:
                refusal = refused.refusal
            except StoreUnavailableError as error:
                self._log.fault(self._new_id(), error)
                refusal = STORE_NOT_REACHED
            except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
                self._log.fault(self._new_id(), error)
                refusal = FAULT
            on_refused(request, refusal, call)
            return refuse(context, refusal)

        return handle

    def _read(self, message_type: type[_M], data: bytes) -> _M:
        request = wire.parse(message_type, data, self._max_request_bytes)
        if isinstance(request, Defect):
            raise RefusedError(wrong_format(request))
        if unknown := wire.unknown_fields(request):
            raise RefusedError(unknown_parameter(unknown))
        return request


def _trace_id(context: Context) -> str:
    """The trace id of a W3C traceparent header, "" where there is none."""
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str):
            parts = value.split("-")
            if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum():
                return parts[1]
    return ""
