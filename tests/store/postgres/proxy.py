"""A proxy of TCP connections on loopback which breaks the network between two sides."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

__all__ = ["IDLE", "Proxy"]

# PostgreSQL's "ready for query, in no transaction": what was asked is done, whatever became of it.
IDLE: Final = b"Z\x00\x00\x00\x05I"

_CHUNK: Final = 65536
_CHUNKS_HELD: Final = 64
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: what is not sent is forgotten, and RST sent

# Chunks and when they are due, on the loop's clock; an empty one is the end.
_Queue = asyncio.Queue[tuple[float, bytes]]


@dataclass
class _Loss:
    """An answer that is to be lost."""

    pattern: bytes
    answer: bytes
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    seen: bytes = b""


@dataclass(eq=False)
class _Link:
    """A connection through the proxy: its two sides, as far as they are there."""

    writers: list[asyncio.StreamWriter]
    task: "asyncio.Task[None]"
    loss: _Loss | None = None

    def reset(self) -> None:
        for writer in self.writers:
            transport: asyncio.WriteTransport = writer.transport
            if not transport.is_closing():
                own: socket.socket = transport.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()


class Proxy:
    """Passes on what it gets, until it is told otherwise; `async with` runs it.

    All methods are called on the event loop that runs it. A test that has none runs one in a
    thread, and calls `loop.call_soon_threadsafe(proxy.drop)`.

    What it cannot do is to leave bytes unacknowledged: the kernel takes what is sent to it, so
    TCP_USER_TIMEOUT and keepalives of the two sides see a peer that is well.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut = False
        self._delay_s = 0.0
        self._loss: _Loss | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Its port of 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""
        return len(self._links)

    def drop(self) -> None:
        """From now on nothing gets through, as if all packets were dropped.

        Connections stay open and silent. New ones are taken, and nothing answers on them.
        """
        self._flowing.clear()

    def cut(self) -> None:
        """Resets all connections now, and new ones as soon as they come."""
        self._cut = True
        for link in tuple(self._links):
            link.reset()
            link.task.cancel()

    def delay(self, seconds: float) -> None:
        """From now on each chunk arrives so much later, in each direction."""
        self._delay_s = seconds

    def heal(self) -> None:
        """Passes everything on again.

        As after a real outage, what was sent meanwhile arrives now, late, from those too who have
        given up since.
        """
        self._cut = False
        self._delay_s = 0.0
        self._flowing.set()

    def lose_answer_to(self, pattern: bytes, answer: bytes = IDLE) -> asyncio.Event:
        """The server does what next has `pattern` in it, and the client never hears of it.

        The chunk of a client in which `pattern` stands is passed on. What the server says on that
        connection from then on is thrown away, and once `answer` was among it, the connection is
        reset on both sides.

        Returns:
            What is set when that has happened.
        """
        self._loss = _Loss(pattern, answer)
        return self._loss.happened

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [link.task for link in self._links]
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link([writer], task)
        self._links.add(link)
        try:
            if not self._cut:
                await self._flowing.wait()
                await self._carry(link, reader, writer)
        except* OSError:  # one side reset the connection, or is not there
            pass
        finally:
            link.reset()
            self._links.discard(link)

    async def _carry(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_server, to_server = await asyncio.open_connection(*self._target)
        link.writers.append(to_server)
        asked, said = _queue(), _queue()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(reader, asked))
            tasks.create_task(self._write(asked, to_server, partial(self._is_asked, link)))
            tasks.create_task(self._read(from_server, said))
            tasks.create_task(self._write(said, writer, partial(self._is_heard, link)))
        for each in link.writers:
            each.close()
            await each.wait_closed()

    async def _read(self, source: asyncio.StreamReader, held: _Queue) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            data = await source.read(_CHUNK)
            await held.put((loop.time() + self._delay_s, data))

    async def _write(
        self, held: _Queue, sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await held.get()
            await asyncio.sleep(due - loop.time())
            await self._flowing.wait()
            if not data:
                sink.write_eof()
                return
            if passes(data):
                sink.write(data)
                await sink.drain()

    def _is_asked(self, link: _Link, data: bytes) -> bool:
        if self._loss is not None and self._loss.pattern in data:
            link.loss, self._loss = self._loss, None
        return True

    def _is_heard(self, link: _Link, data: bytes) -> bool:
        if (loss := link.loss) is None:
            return True
        loss.seen += data
        if loss.answer in loss.seen:
            link.reset()
            loss.happened.set()
        return False


def _queue() -> _Queue:
    return asyncio.Queue(_CHUNKS_HELD)
