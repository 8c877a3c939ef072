"""Attacks by connections that are there and ask for nothing, or never come to it."""

import asyncio
from collections.abc import Sequence

from hyperframe.frame import ContinuationFrame, HeadersFrame

from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.calls import CHECK
from tests.attacks.hostile.wire import BEGIN, PREFACE, Wire, call_headers, encoded


async def idle_connections(address: str, effort: Effort) -> Got:
    """Connections that are complete, and say nothing more."""
    return await _held(address, effort, BEGIN)


async def half_open_connections(address: str, effort: Effort) -> Got:
    """Connections that begin to speak HTTP/2, and stop before their settings."""
    return await _held(address, effort, PREFACE)


async def silent_connections(address: str, effort: Effort) -> Got:
    """Connections of TCP on which nothing comes."""
    return await _held(address, effort, b"")


async def slow_headers(address: str, effort: Effort) -> Got:
    """Calls whose headers come a few bytes at a time, and never to their end."""
    wires = [await Wire.open(address) for _ in range(effort.many)]
    block = encoded(call_headers(CHECK))
    for wire in wires:
        # Any other frame amid headers would end the connection.
        await wire.begun()
        await wire.send(HeadersFrame(1, block[:1]))
    for at in range(1, len(block), 20):
        for wire in wires:
            await wire.send(ContinuationFrame(1, block[at : at + 20]))
    await effort.hold()
    return await _closed(wires)


async def _held(address: str, effort: Effort, said: bytes) -> Got:
    opened = (Wire.open(address, said) for _ in range(effort.many))
    wires = [await each for each in opened]
    await effort.hold()
    return await _closed(wires)


async def _closed(wires: Sequence[Wire]) -> Got:
    return sum(await asyncio.gather(*(wire.close() for wire in wires)), Got())
