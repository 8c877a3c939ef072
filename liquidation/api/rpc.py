"""What every servicer shares: how a call is answered, and how methods are found."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from liquidation.api import refusals, wire
from liquidation.api.door import Arrival, Context, Door
from liquidation.api.failures import ABANDONED, FAULT, STORE_NOT_REACHED, refusal_of
from liquidation.api.guards import TOO_MANY
from liquidation.api.register import RefusedError, refused_field
from liquidation.api.shedding import Shedding
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import Call
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.checks import unknown_parameter, wrong_format
from liquidation.rules.model import FieldViolation, Refusal
from liquidation.rules.numbers import MAX_INT64
from liquidation.v1 import liquidation_pb2

__all__ = [
    "Context",
    "PlainCalls",
    "Service",
    "Stream",
    "Unary",
    "key_of",
    "page_token",
    "refuse",
]

Unary = Callable[[bytes, Context], Awaitable[bytes]]
Stream = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]
_INT64_DIGITS: Final = 19

_M = TypeVar("_M", bound=Message)
_T = TypeVar("_T")

_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# Bytes of the requests whose callers are gone while they wait, and what each counts at least.
_MOST_LEFT: Final = 64 * 1024 * 1024
_LEAST_LEFT: Final = 64 * 1024
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
        shedding: Shedding,
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
            name: grpc.unary_unary_rpc_method_handler(_bounded(behaviour, shedding))
            for name, behaviour in unary.items()
        } | {
            name: grpc.stream_stream_rpc_method_handler(behaviour)
            for name, behaviour in stream.items()
        }
        self._handlers = {f"/{self.name}/{name}": each for name, each in handlers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None where it is not one of this service."""
        return self._handlers.get(handler_call_details.method)


def _bounded(behaviour: Unary, shedding: Shedding) -> Unary:
    """Hands an answer over as far as there is memory for it."""

    async def handle(data: bytes, context: Context) -> bytes:
        answer = await behaviour(data, context)
        return answer if shedding.takes(answer) else refuse(context, TOO_MANY)

    return handle


def refuse(
    context: Context, refusal: Refusal, decision: liquidation_pb2.Decision | None = None
) -> bytes:
    """Ends a unary call with a refusal; returns what the handler is to return."""
    status = refusals.status(refusal, decision)
    context.set_code(_STATUS_CODES[status.code])
    context.set_details(status.message)
    context.set_trailing_metadata(((_DETAILS_KEY, status.SerializeToString()),))
    return b""


class Unfinished:
    """What goes on when its caller is gone, so that what was stored or decided is also told."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._left_behind = 0

    def begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Begins `work`, which runs to its end whoever is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, change: Coroutine[Any, Any, _T]) -> _T:
        """What `change` returns; it runs to its end even where the caller is cancelled."""
        return await asyncio.shield(self.begin(change))

    def leave(self, task: asyncio.Task[Any], size: int) -> None:
        """Says that the caller of `task`, who sent `size` bytes, is gone.

        Where too much was left behind by callers, the task is cancelled: it is to end without
        waiting for others, so that what comes faster than it can be told is held up by that.
        """
        held = max(size, _LEAST_LEFT)
        if self._left_behind + held > _MOST_LEFT:
            # Soon, not now: one that has not begun would never do so.
            asyncio.get_running_loop().call_soon(task.cancel)
            return
        self._left_behind += held
        task.add_done_callback(lambda _: self._forget(held))

    def _forget(self, held: int) -> None:
        self._left_behind -= held

    async def drained(self) -> None:
        """Returns when nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)


class PlainCalls:
    """Makes handlers of calls that are no decision: one message in, one message or refusal out."""

    def __init__(
        self,
        log: DecisionLog,
        door: Door,
        unfinished: Unfinished,
        permission: Permission,
        new_id: Callable[[], str],
    ) -> None:
        """`permission` is what a key needs for each of the calls."""
        self._log = log
        self._door = door
        self._unfinished = unfinished
        self._permission = permission
        self._new_id = new_id
        self.shedding = door.shedding

    def unary(
        self,
        name: str,
        message_type: type[_M],
        behaviour: Callable[[_M, Call], Awaitable[Message]],
        on_refused: Callable[[_M, Refusal, str, Call], None] = lambda *_: None,
        also_needs: Callable[[_M], Permission | None] = lambda _: None,
    ) -> Unary:
        """A handler that runs `behaviour`; what it raises becomes the refusal.

        `on_refused` leaves the line of a call that was refused, under the id that the caller gets.
        `also_needs` names the further permission that some requests need.
        """

        async def run(data: bytes, arrival: Arrival) -> Message | tuple[Refusal, str]:
            call = arrival.call
            request = message_type()
            decision_id = self._new_id()
            try:
                with self._door.guard.admit() as admission:
                    outside = ABANDONED if call.abandoned() else admission.refusal
                    if refusal := arrival.refusal or outside:
                        raise RefusedError(refusal)
                    request = self._parse(message_type, data)
                    if unknown := wire.unknown_fields(request):
                        raise RefusedError(unknown_parameter(unknown))
                    further = also_needs(request)
                    if further and (refusal := self._door.also(arrival, further)):
                        raise RefusedError(refusal)
                    return await behaviour(request, call)
            except RefusedError as refused:
                refusal, logged = refused.refusal, refused.logged
            except Exception as error:  # noqa: BLE001 - the last line of defence, told in full
                refusal, logged = refusal_of(error, self._log, decision_id), False
            if not logged:
                on_refused(request, refusal, decision_id, call)
            return refusal, decision_id

        async def handle(data: bytes, context: Context) -> bytes:
            arrival = self._door.arrive(name, self._permission, context)
            outcome = await self._unfinished.finish(run(data, arrival))
            if isinstance(outcome, Message):
                await self._door.leave(arrival.call, 0)
                return outcome.SerializeToString()
            refusal, decision_id = outcome
            await self._door.leave(arrival.call, refusal.row.code)
            # A failure of ours is in the log under this id; other refusals say it all themselves.
            failed = refusal in (FAULT, STORE_NOT_REACHED)
            told = liquidation_pb2.Decision(decision_id=decision_id) if failed else None
            return refuse(context, refusal, told)

        return handle

    def _parse(self, message_type: type[_M], data: bytes) -> _M:
        request = self._door.parse(message_type, data)
        if isinstance(request, FieldViolation):
            raise RefusedError(wrong_format(request))
        return request


def page_token(word: str, key: int) -> str:
    """The token of the page that begins `word` ("after" or "below") a key."""
    return base64.urlsafe_b64encode(f"{word}:{key}".encode()).decode()


def key_of(token: str, word: str) -> int:
    """The key in a page token; 0 for the first page.

    Raises:
        RefusedError: -1005, where `page_token` did not make it.
    """
    if not token:
        return 0
    try:
        said, _, key = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        said = key = ""
    digits = key.isascii() and key.isdigit() and len(key) <= _INT64_DIGITS
    number = int(key) if digits else MAX_INT64 + 1
    if said != word or number > MAX_INT64:
        raise refused_field("page_token", "is not a token that this service gave")
    return number
