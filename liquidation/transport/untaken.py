"""Counts large answers that callers have not taken yet, so that they cannot fill the memory."""

import threading
from collections import deque

from liquidation.transport.base import LARGE_BYTES


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
