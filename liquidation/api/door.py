"""What every call passes before anything is done for it: who calls, for how long, with what key."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message

from liquidation.api import wire
from liquidation.api.desk import Admit
from liquidation.api.guards import Admission, Guard, Metadata
from liquidation.api.reading import ReadAhead
from liquidation.api.shedding import Shedding
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import Call
from liquidation.decisionlog.observer import Observer
from liquidation.rules.model import FieldViolation, Refusal
from liquidation.rules.policy import Limits
from liquidation.rules.texts import Sent

__all__ = ["Arrival", "Context", "Door", "Metadata", "trace_id_of"]

Context = grpc.aio.ServicerContext[bytes, bytes]

_M = TypeVar("_M", bound=Message)
_NANOS: Final = 1_000_000_000
# How often it is looked whether calls still come, in seconds, how many looks in a row have to see
# none, and how many there are at most: callers that wait for no answer must not hold up the end.
# One look is not enough: on a busy machine calls that have come may wait to be seen.
_LOOK_S: Final = 0.01
_QUIET_LOOKS: Final = 5
_MOST_LOOKS: Final = 50


class Arrival(NamedTuple):
    """A call that came. `refusal` tells why its key does not open the door."""

    call: Call
    metadata: Metadata
    refusal: Refusal | None


class Door:
    """Looks at each call as it comes in, and counts it when it leaves."""

    def __init__(
        self,
        guard: Guard,
        limits: Callable[[], Limits],
        max_call_s: float,
        trace_id: Callable[[Metadata], str],
        observer: Observer,
        monotonic_ns: Callable[[], int],
        shedding: Shedding,
    ) -> None:
        """`max_call_s` is how long a call may wait to be decided, whatever its own deadline.

        `limits` are asked for each time, since rules change while the server runs.
        """
        self.guard = guard
        self.shedding = shedding
        self._limits = limits
        self._max_call_ns = int(max_call_s * _NANOS)
        self._trace_id = trace_id
        self._observer = observer
        self._monotonic_ns = monotonic_ns
        self._open = asyncio.Event()
        self._open.set()
        self._arrivals = 0
        self._held = 0
        self._streams: set[ReadAhead] = set()
        self._ending = asyncio.Event()

    def arrive(self, rpc: str, permission: Permission, context: Context) -> Arrival:
        """Who calls `rpc`, and whether their key has the permission for it."""
        started_ns = self._monotonic_ns()
        self._arrivals += 1

        def abandoned() -> bool:
            left = context.time_remaining()
            late = self._monotonic_ns() - started_ns > self._max_call_ns
            return late or (left is not None and left <= 0)

        metadata = tuple(context.invocation_metadata() or ())
        identity = self.guard.identify(metadata, permission)
        refusal, caller = (identity, "") if isinstance(identity, Refusal) else (None, identity.name)
        call = Call(
            rpc,
            context.peer(),
            self._trace_id(metadata),
            started_ns,
            abandoned,
            caller,
        )
        return Arrival(call, metadata, refusal)

    def also(self, arrival: Arrival, permission: Permission) -> Refusal | None:
        """The refusal where the call's key lacks a further permission."""
        identity = self.guard.identify(arrival.metadata, permission)
        return identity if isinstance(identity, Refusal) else None

    def admits(self, arrival: Arrival, admission: Admission) -> Admit:
        """What is asked of each claim of a call: its key, its place, its liquidator's rate."""

        def admit(sent: Sent) -> Refusal | None:
            if refusal := arrival.refusal or admission.refusal:
                return refusal
            return (
                None if sent.request is None else self.guard.rate(sent.request.terms.liquidator_id)
            )

        return admit

    def parse(self, message_type: type[_M], data: bytes) -> _M | FieldViolation:
        """The message in `data`, or what is wrong with it, its size included."""
        return wire.parse(message_type, data, self._limits().max_request_bytes)

    async def leave(self, call: Call, code: int) -> None:
        """Counts a unary call that is answered with `code`, 0 for a message, and lets it go."""
        self._observer.called(call.rpc, code, (self._monotonic_ns() - call.started_ns) / _NANOS)
        if not self._open.is_set():
            self._held += 1
            await self._open.wait()

    async def turns(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[list[bytes]]:
        """The items of a stream, 1 to 32 at a time, until its caller or the server ends it.

        A stream that waits for its next item when the server drains ends with UNAVAILABLE at once,
        any other behind its turn: its caller is to open another, and holds nothing up.
        """
        reading = ReadAhead(requests)
        self._streams.add(reading)
        try:
            while not self._ending.is_set() and (turn := await self._next(reading)):
                yield turn
        finally:
            self._streams.discard(reading)
            reading.end()
        if self._ending.is_set():
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("The server ends; open another stream.")
        elif reading.shed:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details("The server is short of memory; open another stream later.")

    async def _next(self, reading: ReadAhead) -> list[bytes]:
        with self.shedding.waiting(reading, reading.end_for_memory):
            return await reading.turn()

    def end_streams(self) -> None:
        """Ends the streams that wait for their next item, and each other behind its turn."""
        self._ending.set()
        for reading in self._streams:
            reading.end()

    @asynccontextmanager
    async def holding_answers(self) -> AsyncIterator[bool]:
        """While the block runs no unary call gets its answer; gives whether any waits for it.

        It begins when no call has come for a moment: whoever waits for an answer sends nothing.
        That is the time to tell connections to end. gRPC cancels a call that comes after it was
        told to stop and before its client knows, or that it has not handed over by then.
        """
        self._open.clear()
        try:
            await self._quiet()
            yield self._held > 0
        finally:
            self._open.set()

    async def _quiet(self) -> None:
        """Returns when no call has come for some looks, after one where nobody is held."""
        quiet = 0
        for _ in range(_MOST_LOOKS):
            before = self._arrivals
            await asyncio.sleep(_LOOK_S)
            quiet = quiet + 1 if self._arrivals == before else 0
            if quiet == (_QUIET_LOOKS if self._held else 1):
                return


def trace_id_of(metadata: Metadata) -> str:
    """The trace id of a W3C traceparent header, "" where there is none."""
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str):
            parts = value.split("-")
            if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum():
                return parts[1]
    return ""
