"""Attacks by calls that never end, or whose answers are not taken."""

import asyncio

from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.calls import BATCH, CHECK, CLAIM, ITEM, LARGE_ANSWER, STREAM
from tests.attacks.hostile.wire import BEGIN, CLOSED_WINDOW, Wire, call_headers, request

# Items that are sent at once, and that are sent on a stream that is not read: some MiB.
_AT_ONCE = 32
_UNREAD = 256 * _AT_ONCE
_CONNECTIONS = 4


async def endless_stream(address: str, effort: Effort) -> Got:
    """Items without end on one stream; its answers are read."""
    wire = await Wire.open(address)
    await wire.send(request(1, call_headers(STREAM)))
    for _ in range(effort.many):
        if not await wire.body(1, ITEM * _AT_ONCE, end=False):
            break
    return await wire.close()


async def silent_streams(address: str, effort: Effort) -> Got:
    """Streams on which nothing comes."""
    wire = await Wire.open(address)
    streams = range(1, 2 * effort.many, 2)
    await wire.send(*(request(stream, call_headers(STREAM)) for stream in streams))
    await effort.hold()
    return await wire.close()


async def unread_streams(address: str, effort: Effort) -> Got:
    """Streams whose items come and come, and whose answers nobody reads."""

    async def one(stream: int) -> None:
        await wire.send(request(stream, call_headers(STREAM)))
        await wire.body(stream, ITEM * _UNREAD, end=False)

    wire = await Wire.open(address, CLOSED_WINDOW)
    async with asyncio.TaskGroup() as streams:
        sending = [streams.create_task(one(2 * number + 1)) for number in range(effort.many)]
        await effort.hold()
        for each in sending:
            each.cancel()
    return await wire.close()


async def unread_answers(address: str, effort: Effort) -> Got:
    """Calls by somebody who reads nothing at all, not even what HTTP/2 says itself."""
    wire = await Wire.open(address, BEGIN, deaf=True)
    calls = (request(stream, call_headers(CHECK), CLAIM) for stream in range(1, 2 * effort.many, 2))
    sending = asyncio.create_task(wire.send(*calls))
    await effort.hold()
    sending.cancel()
    return await wire.close()


async def unread_large_answers(address: str, effort: Effort) -> Got:
    """Few bytes that are answered by many, which nobody takes."""

    async def one(number: int) -> None:
        wire = wires[number % len(wires)]
        stream = 2 * (number // len(wires)) + 1
        await wire.send(request(stream, call_headers(BATCH)))
        await wire.body(stream, LARGE_ANSWER)

    wires = [await Wire.open(address, CLOSED_WINDOW) for _ in range(_CONNECTIONS)]
    async with asyncio.TaskGroup() as calls:
        sending = [calls.create_task(one(number)) for number in range(effort.many)]
        await effort.hold()
        for each in sending:
            each.cancel()
    return sum([await wire.close() for wire in wires], Got())
