"""What both transports share: their own statuses, their drain, and untaken answers."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from liquidation.transport.base import LARGE_BYTES

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
