"""What both transports share: what handlers are given, statuses, drains, untaken answers.

A transport knows nothing of liquidations: it takes calls, hands their messages to handlers on one
thread at a time, and sends what they answer. `queue` and `threads` pass one suite of tests.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, Protocol

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]
Options = Sequence[tuple[str, str | int]]
OnFault = Callable[[BaseException], object]

# Messages of one stream that are handed over together, and that are read ahead, at most.
MOST_MESSAGES = 32
# Bytes of one stream that are read ahead before reading stops; one message may go beyond it.
MOST_READ_AHEAD_BYTES = 256 * 1024
# Answers that are smaller are not counted as untaken: a call holds about as much beside them.
LARGE_BYTES = 64 * 1024
# How often it is looked whether calls still come while a drain begins, in seconds, how many looks
# in a row have to see none, and how many there are at most: callers that wait for no answer must
# not hold up the end. One look is not enough: on a busy machine calls that have come may wait to
# be seen.
LOOK_S: Final = 0.01
_QUIET_LOOKS: Final = 5
_MOST_LOOKS: Final = 50
# How long it takes at most until clients know that their connections end, in seconds.
GOODBYE_S: Final = 0.02
# How long a stream that was told to end may take until its caller has read that, in seconds.
LISTEN_S: Final = 0.5
# How long one that its handler ended may take, in seconds.
READ_S: Final = 1.0


class Step(Enum):
    """What a handler's work yields between its chunks."""

    MORE = 1
    """Others get their turn, then this work goes on."""
    WAIT = 2
    """It goes on after one `Call.resume`, which may come before this is yielded."""


# A handler does all of its work at once and returns None, or it returns an iterator of chunks.
Work = Iterator[Step] | None


class Call(Protocol):
    """One call, from its first message to its end.

    A handler answers a unary call by `reply` or `refuse`, once, now or later, from any thread.
    After the call's end every method does nothing.
    """

    @property
    def method(self) -> str:
        """The full name: "/package.Service/Method"."""

    @property
    def metadata(self) -> Metadata:
        """What the caller sent before its first message; values of "-bin" keys are bytes."""

    @property
    def peer(self) -> str:
        """The caller's address as gRPC gives it: "ipv4:127.0.0.1:1234", not URL-decoded."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller is known to be gone: cancelled, deadline passed, connection lost.

        Known only between chunks of work and while a call waits, not inside of `handle`.
        """

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline, never below 0; None if the caller set none."""

    def reply(self, message: bytes) -> bool:
        """Ends a unary call with its one message.

        False, and nothing is sent, if answers that callers do not take already hold too much
        memory: the handler refuses then.
        """

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        """Ends any call with a status; `code` is the number of a `grpc.StatusCode`.

        0, OK, ends a stream well. A stream's queued messages are sent before it.
        """

    def set_trailers(self, trailers: Metadata) -> None:
        """Sets what is sent with the status of `reply`."""

    def send(self, message: bytes) -> bool:
        """Queues one more message of a stream; False, and it is not queued, as for `reply`."""

    def send_latest(self, message: bytes) -> None:
        """Sends a message in place of those that are queued and not begun to be sent."""

    @property
    def unsent(self) -> int:
        """Messages of a stream that are queued or being sent."""

    def resume(self) -> None:
        """Lets the work that yielded `Step.WAIT`, or will, go on; from any thread."""


class EndedCall(Call, Protocol):
    """A stream that is over."""

    @property
    def code(self) -> int:
        """The number of its status, whoever gave it; 1, CANCELLED, if its caller went before."""


@dataclass(frozen=True, slots=True)
class Unary:
    """One message, one answer, by `reply` or `refuse`."""

    handle: Callable[[Call, bytes], Work]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Each message of the caller gets one answer, by `send`, in order; the caller's end ends it.

    `handle` gets the messages that are there, 1 to 32. The next are handed over when its work is
    done and all it sent is begun to be sent; while its work waits, up to 32 messages and 256 KiB
    are read ahead.

    `closed` is called once when the call is over, whoever ended it, on the thread that answers;
    also if no message came.
    """

    handle: Callable[[Call, Sequence[bytes]], Work]
    closed: Callable[[EndedCall], None] | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One message of the caller, answered by `send` or `send_latest` until somebody ends it.

    `closed` is called once, after `handle`, when the call is over, whoever ended it, on the thread
    that answers.
    """

    handle: Callable[[Call, bytes], None]
    closed: Callable[[EndedCall], None]


Handler = Unary | Exchange | Subscription


class Server(Protocol):
    """Takes calls at its addresses from `start` to the end of `drain`."""

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Adds an address, as gRPC writes them, before the start.

        Returns:
            The port; 1 for a Unix socket.

        Raises:
            RuntimeError: the address cannot be listened on.
        """

    def start(self) -> None:
        """Begins to take calls, on a thread of the server's own."""

    def drain(self, grace_s: float) -> None:
        """Takes no more calls, and returns when those in progress are over.

        Streams that wait for their callers end at once, others behind the messages in hand. What
        is not over after `grace_s` seconds is cancelled. From any thread but the answering one;
        once.
        """

    def shed(self) -> int:
        """Ends the calls that wait for their callers since before the last `shed`; how many."""


class Status(NamedTuple):
    """A gRPC status: the number of a `grpc.StatusCode`, and words for the caller."""

    code: int
    message: str


OK = Status(0, "")
UNKNOWN_METHOD = Status(12, "Method not found!")
# gRPC's status for a unary call that is half-closed without its message.
NO_REQUEST = Status(12, "the method takes one request, none was sent")
FAULT = Status(13, "The server failed to answer.")
LATE_REQUEST = Status(4, "The request did not come in time.")
SHED_REQUEST = Status(8, "The server is short of memory; send the request again later.")
SHED_STREAM = Status(8, "The server is short of memory; open another stream later.")
DRAINING = Status(14, "The server ends; open another stream.")


def wait_until_quiet(arrivals: Callable[[], int], holding: Callable[[], object]) -> None:
    """Returns when no unary call has come for a moment, or too long.

    `arrivals` counts those that have come, `holding` tells whether one waits for its answer.
    """
    quiet = 0
    for _ in range(_MOST_LOOKS):
        before = arrivals()
        time.sleep(LOOK_S)
        quiet = quiet + 1 if arrivals() == before else 0
        if quiet == (_QUIET_LOOKS if holding() else 1):
            return


class Untaken:
    """Bytes of large answers from when they are handed over until their callers took them."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` is how much there may be; 0 is no bound."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()

    def admit(self, size: int) -> bool:
        """Counts an answer of `size` bytes; False, and it is not counted, if it is too much."""
        if size < LARGE_BYTES:
            return True
        with self._lock:
            if self._most_bytes and self._bytes + size > self._most_bytes:
                return False
            self._bytes += size
            return True

    def taken(self, size: int) -> None:
        """An answer that was counted is with its caller, or dropped."""
        if size >= LARGE_BYTES:
            with self._lock:
                self._bytes -= size

    def drop(self, answers: deque[bytes]) -> None:
        """Forgets answers that were counted and are not handed over."""
        for answer in answers:
            self.taken(len(answer))
        answers.clear()
