"""A stream's items, read while those before them are decided and answered."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from liquidation.api.desk import TURN

__all__ = ["ReadAhead"]

# Items, and bytes of them, that are read before those before them are answered; then the caller
# has to wait.
_MOST: Final = 2 * TURN
_MOST_BYTES: Final = 256 * 1024


class ReadAhead:
    """Reads the items of one stream. Few wait here, so that a caller cannot fill the memory."""

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        """`requests` are the stream's items as they come."""
        self._requests = requests
        self._items: deque[bytes] = deque()
        self._bytes = 0
        self._over = False
        self.shed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def turn(self) -> list[bytes]:
        """The next items, 1 to `TURN`, as soon as there is one; none where the stream is over.

        Raises:
            Exception: what went wrong while reading, once all that came before is handed over.
        """
        while not self._items and not self._over:
            self._changed.clear()
            await self._changed.wait()
        if not self._items and self._reading.done() and not self._reading.cancelled():
            self._reading.result()
        turn = [self._items.popleft() for _ in range(min(len(self._items), TURN))]
        self._bytes -= sum(map(len, turn))
        self._room.set()
        return turn

    def end_for_memory(self) -> None:
        """Ends the stream because too much is held in memory, as far as it can be seen."""
        self.shed = True
        self.end()

    def end(self) -> None:
        """Ends the stream for whoever waits for its next item; nothing more is read."""
        self._over = True
        self._changed.set()
        self._reading.cancel()

    async def _read(self) -> None:
        try:
            async for item in self._requests:
                self._items.append(item)
                self._bytes += len(item)
                self._changed.set()
                while len(self._items) >= _MOST or self._bytes >= _MOST_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._over = True
            self._changed.set()
