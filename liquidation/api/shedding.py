"""Keeps what callers make a process hold in memory below a bound.

What streams send, and answers that their callers do not take, are held by gRPC itself, which
bounds each of them and not all together. So streams that wait for their callers are ended where the
process holds too much, and answers are bounded before they are handed over. The request of a unary
call that does not come cannot be ended: gRPC tells of the call only with it. As a stream of one
request it could be, for a third of the throughput.
"""

import asyncio
import ctypes
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Shedding"]

_STATM: Final = Path("/proc/self/statm")
# Answers that are smaller are not counted: what a call holds beside them is not much less.
_LARGE: Final = 64 * 1024
# The share of the bound that answers may take which are not taken yet.
_ANSWERS: Final = 4


def _resident() -> int:
    """Bytes that this process holds in memory."""
    return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE


class Shedding:
    """Knows which calls wait for their callers, and ends them where too much is held.

    For one thread: that of the event loop.
    """

    def __init__(self, most_bytes: int, resident: Callable[[], int] = _resident) -> None:
        """`most_bytes` is what the process may hold without a call being ended; 0 is no bound."""
        self._most_bytes = most_bytes
        self._resident = resident
        self._free: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        self._waiting: dict[object, Callable[[], object]] = {}
        self._waited: set[object] = set()
        self._untaken = 0

    @contextmanager
    def waiting(self, call: object, end: Callable[[], object]) -> Iterator[None]:
        """While the block runs, `call` waits for its caller, and may be ended."""
        self._waiting[call] = end
        try:
            yield
        finally:
            self._waiting.pop(call, None)

    def takes(self, answer: bytes) -> bool:
        """Whether the call that runs may hand its answer over; it counts until it is taken."""
        size = len(answer)
        if size < _LARGE or not self._most_bytes:
            return True
        if self._untaken + size > self._most_bytes // _ANSWERS:
            return False
        self._untaken += size
        task = asyncio.current_task()
        assert task is not None, "calls run in tasks"
        task.add_done_callback(lambda _: self._take(size))
        return True

    def _take(self, size: int) -> None:
        self._untaken -= size

    async def look(self) -> tuple[int, int]:
        """How many calls were ended, and the bytes that were held.

        Those are ended that waited at the last look too, if too much is held at both.
        """
        held = self._resident()
        if self._most_bytes and held > self._most_bytes:
            # What was freed counts until it is given back, which takes its time.
            await asyncio.to_thread(self._free, 0)
            held = self._resident()
        short = bool(self._most_bytes) and held > self._most_bytes
        ended = self._waited & self._waiting.keys() if short else set()
        for call in ended:
            self._waiting.pop(call)()
        self._waited = set(self._waiting) if short else set()
        return len(ended), held
