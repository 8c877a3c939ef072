"""A connection on which frames of HTTP/2 are sent as no client of gRPC would."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Self

from grpc import StatusCode
from h2.errors import ErrorCodes
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BEGIN: Final = PREFACE + SettingsFrame(0).serialize()
# No answer's data may come; what is no data is bound by no window.
CLOSED_WINDOW: Final = (
    PREFACE + SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize()
)
_HEAD: Final = 9
_FRAME: Final = 16_384
_WINDOW: Final = 65_535
_STATUS: Final = {str(code.value[0]): code.name for code in StatusCode}
# What the kernel takes for a caller that does not read; it takes some KiB all the same.
_LITTLE: Final = 2048

Headers = Sequence[tuple[str, str]]


def call_headers(path: str, *more: tuple[str, str], **changed: str) -> list[tuple[str, str]]:
    """The headers with which a call begins; `changed` ones stand with "_" for "-"."""
    headers = {"content-type": "application/grpc", "te": "trailers"}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "attacked"}
    return [*pseudo.items(), *headers.items(), *more]


def message(data: bytes, announced: int | None = None, *, compressed: bool = False) -> bytes:
    """A message as gRPC frames it; `announced` is the length that is said instead of its own."""
    length = len(data) if announced is None else announced
    return bytes([compressed]) + length.to_bytes(4) + data


def encoded(headers: Iterable[tuple[str, str]]) -> bytes:
    """A block of headers that makes no use of what was sent before, and leaves nothing behind."""
    return Encoder().encode([(name, value, True) for name, value in headers], huffman=False)


def request(stream: int, headers: Headers, data: bytes | None = None) -> bytes:
    """The frames of a call, in one write; without `data` its headers alone, which end nothing."""
    block = encoded(headers)
    heads: list[Frame] = [HeadersFrame(stream, block[:_FRAME])]
    heads += [
        ContinuationFrame(stream, block[at : at + _FRAME])
        for at in range(_FRAME, len(block), _FRAME)
    ]
    heads[-1].flags.add("END_HEADERS")
    frames = b"".join(each.serialize() for each in heads)
    if data is None:
        return frames
    assert len(data) <= _FRAME, "data that long goes by `Wire.body`"
    return frames + DataFrame(stream, data, flags=["END_STREAM"]).serialize()


class Wire:
    """Says what it is told to, and counts what it gets, by words such as `GOAWAY NO_ERROR: idle`.

    What the server pings is answered, as by a caller that lives.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.got: Counter[str] = Counter()
        self.answers_pings = True
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._changed = asyncio.Event()
        self._begun = asyncio.Event()
        self._initial = _WINDOW
        self._room: dict[int, int] = {0: _WINDOW}
        self._hearing = asyncio.create_task(self._hear())

    @classmethod
    async def open(cls, address: str, said: bytes = BEGIN, *, deaf: bool = False) -> Self:
        """A connection on which `said` was sent. One that is deaf never reads."""
        host, _, port = address.rpartition(":")
        sock = socket.socket()
        if deaf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)
        # asyncio turns Nagle's algorithm off only for sockets that it makes itself; left on, each
        # small call waits 40 ms for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock)
        wire = cls(reader, writer)
        writer.write(said)
        if deaf:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        return wire

    async def send(self, *frames: Frame | bytes) -> bool:
        """Sends, and waits while too much is unsent; whether the connection still stands."""
        if self.over:
            return False
        data = b"".join(each if isinstance(each, bytes) else each.serialize() for each in frames)
        self._writer.write(data)
        with suppress(OSError):
            await self._writer.drain()
        # A server that takes everything never lets `drain` wait, and then nobody else would run.
        await asyncio.sleep(0)
        return not self.over

    async def body(self, stream: int, data: bytes, *, end: bool = True) -> bool:
        """Sends the data of a call as fast as it is taken; whether all of it was."""
        self._room.setdefault(stream, self._initial)
        while data and stream in self._room and not self.over:
            room = min(self._room[0], self._room[stream], _FRAME)
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            part, data = data[:room], data[room:]
            self._room[0] -= len(part)
            self._room[stream] -= len(part)
            flags = ["END_STREAM"] if end and not data else []
            await self.send(DataFrame(stream, part, flags=flags))
        return not data

    @property
    def over(self) -> bool:
        """Whether the server has closed the connection."""
        return self._hearing.done()

    async def begun(self) -> None:
        """Returns once the server's settings have come, and were acknowledged."""
        await self._begun.wait()

    async def until(self, answers: int) -> None:
        """Returns once so many things were told, or the connection is over."""
        while self.got.total() < answers and not self.over:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> Counter[str]:
        """Closes the connection; what it got, and `left open` where the server had not closed."""
        if not self.over:
            self.got["left open"] += 1
        self._hearing.cancel()
        self._writer.transport.abort()
        await asyncio.wait([self._hearing])
        return self.got

    async def _hear(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(_HEAD)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self._take(frame)
        except (OSError, asyncio.IncompleteReadError):
            self._tell("closed")

    def _take(self, frame: Frame) -> None:
        match frame:
            case SettingsFrame() if "ACK" not in frame.flags:
                self._grow(frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial))
                self._writer.write(SettingsFrame(0, flags=["ACK"]).serialize())
                self._begun.set()
            case PingFrame() if "ACK" not in frame.flags and self.answers_pings:
                self._writer.write(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
            case WindowUpdateFrame() if frame.stream_id in self._room:
                self._room[frame.stream_id] += frame.window_increment
                self._changed.set()
            case GoAwayFrame():
                why = frame.additional_data.decode(errors="replace")
                self._tell(f"GOAWAY {ErrorCodes(frame.error_code).name}: {why}")
            case _:
                self._take_of_a_call(frame)

    def _take_of_a_call(self, frame: Frame) -> None:
        match frame:
            case DataFrame() if frame.flow_controlled_length:
                for stream in (0, frame.stream_id):
                    more = WindowUpdateFrame(stream, frame.flow_controlled_length)
                    self._writer.write(more.serialize())
            case RstStreamFrame() if frame.error_code != ErrorCodes.NO_ERROR:
                self._tell(f"RST_STREAM {ErrorCodes(frame.error_code).name}")
            case HeadersFrame() | ContinuationFrame():
                self._take_headers(frame.data)
        if isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags:
            # What is said on it from now on, nobody waits for.
            self._room.pop(frame.stream_id, None)
            self._changed.set()

    def _grow(self, initial: int) -> None:
        """Every stream's window grows with the setting; that of the connection does not."""
        for stream in self._room.keys() - {0}:
            self._room[stream] += initial - self._initial
        self._initial = initial
        self._changed.set()

    def _take_headers(self, data: bytes) -> None:
        headers = {str(name): str(value) for name, value in self._decoder.decode(data)}
        if (status := headers.get("grpc-status")) is not None:
            self._tell(f"{_STATUS[status]}: {headers.get('grpc-message', '')}".rstrip(": "))
        elif headers.get(":status", "200") != "200":
            self._tell(f"HTTP {headers[':status']}")

    def _tell(self, what: str) -> None:
        self.got[what] += 1
        self._changed.set()
