"""What is common to all calls of the queue transport, and unary calls.

Only the answering thread changes a call, so nothing here takes a lock. Other threads hand their
replies to it (`Loop.do`).
"""

import time
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from grpc._cython.cygrpc import (
    ReceiveCloseOnServerOperation,
    SendInitialMetadataOperation,
    SendMessageOperation,
    SendStatusFromServerOperation,
)

from liquidation.transport.base import FAULT, LARGE_BYTES, Metadata, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from liquidation.transport.queue_loop import Loop

# The tag of a batch whose end says nothing.
SENT = object()


class QueueCall:
    """One call as gRPC's core gives it, and the work that a handler still has with it."""

    __slots__ = ("_cancelled", "_event", "_loop", "core", "parked", "permits", "since", "waited")

    def __init__(self, loop: "Loop", event: Any, waited: int, since: float) -> None:
        """`event` is that of the new call; the last two tell since when it waits for its caller.

        `waited` is the number of sheds before that, and `since` the monotonic time, in seconds.
        """
        self._loop = loop
        self._event = event
        self.core = event.call
        self.waited = waited
        self.since = since
        self._cancelled = False
        # Work that yielded WAIT, and calls of `resume` that no WAIT has used up.
        self.parked: Work = None
        self.permits = 0

    @property
    def method(self) -> str:
        method: bytes = self._event.call_details.method
        return method.decode()

    @property
    def metadata(self) -> Metadata:
        metadata: Metadata = self._event.invocation_metadata
        return metadata

    @property
    def peer(self) -> str:
        peer: bytes = self.core.peer()
        return peer.decode()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def time_remaining(self) -> float | None:
        # gRPC gives a number for "never" too, that of the year 2262 or infinity.
        deadline: float | None = self._event.call_details.deadline
        if deadline is None or deadline > _NEVER:
            return None
        return max(0.0, deadline - time.time())

    def resume(self) -> None:
        self._loop.do(self.core, partial(self._loop.works.resume, self))

    def set_trailers(self, trailers: Metadata) -> None:
        """Sets what is sent with the status of a reply; streams end by `refuse`."""

    def reply(self, message: bytes) -> bool:
        raise TypeError(f"{self.method} is no unary call: {len(message)} bytes are not sent")

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        raise NotImplementedError

    def send(self, message: bytes) -> bool:
        raise TypeError(f"{self.method} is no stream: {len(message)} bytes are not sent")

    def send_latest(self, message: bytes) -> None:
        self.send(message)

    @property
    def unsent(self) -> int:
        return 0

    def fail(self) -> None:
        """Ends the call because its handler failed; on the answering thread."""
        raise NotImplementedError

    def worked(self) -> None:
        """The handler's work with the call is done; on the answering thread."""

    def waits(self) -> None:
        """The handler's work waits; on the answering thread."""


# A time that no deadline reaches, in seconds since 1970.
_NEVER = 9e9


class UnaryCall(QueueCall):
    """A call with one message and one answer.

    How it ends is told by gRPC together with the answer. Only a call that is not answered at once
    asks for that before, so that it hears when its caller goes.
    """

    __slots__ = ("_ended", "_listening", "_trailers", "handle")

    def __init__(
        self,
        loop: "Loop",
        event: Any,
        waited: int,
        since: float,
        handle: "Callable[[Any, bytes], Work]",
    ) -> None:
        super().__init__(loop, event, waited, since)
        self.handle = handle
        self._ended = False
        self._listening = False
        self._trailers: Metadata | None = None

    def set_trailers(self, trailers: Metadata) -> None:
        self._trailers = trailers

    def reply(self, message: bytes) -> bool:
        if self._ended:
            return True
        size = len(message)
        tag = SENT
        if size >= LARGE_BYTES:
            if not self._loop.untaken.admit(size):
                return False
            tag = Taking(self._loop, size)
        self._end(
            (
                SendInitialMetadataOperation(None, 0),
                SendMessageOperation(message, 0),
                SendStatusFromServerOperation(self._trailers, 0, b"", 0),
                ReceiveCloseOnServerOperation(0),
            ),
            tag,
        )
        return True

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        self._end(
            (
                SendInitialMetadataOperation(None, 0),
                # Envoy turns the details into JSON only if headers came before the trailers.
                SendMessageOperation(b"", 0),
                SendStatusFromServerOperation(trailers or None, code, message.encode(), 0),
                ReceiveCloseOnServerOperation(0),
            ),
            SENT,
        )

    def fail(self) -> None:
        self.refuse(*FAULT)

    def listen(self) -> None:
        """Asks gRPC to tell when the caller goes; the call has not been answered."""
        self._listening = True
        self.core.start_server_batch((ReceiveCloseOnServerOperation(0),), self._closed)

    @property
    def ended(self) -> bool:
        """Whether the call has been answered."""
        return self._ended

    def _closed(self, event: Any) -> None:
        self._cancelled = event.batch_operations[0].cancelled()

    def _end(self, operations: tuple[Any, ...], tag: Any) -> None:
        if get_ident() == self._loop.thread:
            self._end_here(operations, tag)
        else:
            self._loop.do(self.core, partial(self._end_here, operations, tag))

    def _end_here(self, operations: tuple[Any, ...], tag: Any) -> None:
        if not self._ended:
            self._ended = True
            if self._listening:
                operations = operations[:-1]
            self._loop.replies.append((self.core, operations, tag))
        elif tag is not SENT:
            tag(None)


class Taking:
    """The tag of a batch with a large answer: it is counted until the batch ends."""

    __slots__ = ("_loop", "_size")

    def __init__(self, loop: "Loop", size: int) -> None:
        self._loop = loop
        self._size = size

    def __call__(self, _: Any) -> None:
        """The batch has ended, or was never begun."""
        self._loop.untaken.taken(self._size)
