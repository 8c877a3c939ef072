"""Attacks by what is in a call: its size, its form, its headers."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from liquidation.v1 import rules_service_pb2
from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.calls import BATCH, CHECK, CLAIM, LARGE_ANSWER
from tests.attacks.hostile.wire import Headers, Wire, call_headers, message, request

MIB = 1 << 20
_CONNECTIONS = 2
# Field 77, which no message of the API has: a group in a group in a group.
_GROUP = bytes([0xEB, 0x04])
_GROUP_END = bytes([0xEC, 0x04])
_UNKNOWN = bytes([0xE8, 0x04, 0x01])


async def huge_messages(address: str, effort: Effort) -> Got:
    """Messages longer than gRPC reads."""
    return await _one_by_one(address, effort.many, message(bytes(64), announced=2**32 - 1))


async def large_requests(address: str, effort: Effort) -> Got:
    """Messages that gRPC reads and the service does not."""
    return await _one_by_one(address, effort.many, message(bytes(5 * MIB)))


async def announced_messages(address: str, effort: Effort) -> Got:
    """Messages of which all but the end comes, and is waited for."""

    async def one(_: int) -> Got:
        async with _wire(address) as wire:
            for stream in range(1, 2 * effort.many // _CONNECTIONS, 2):
                await wire.send(request(stream, call_headers(CHECK)))
                await wire.body(stream, announced, end=False)
            await effort.hold()
        return wire.got

    announced = message(bytes(15 * MIB // 2), announced=8 * MIB)
    return sum(await asyncio.gather(*map(one, range(_CONNECTIONS))), Got())


async def compressed_bombs(address: str, effort: Effort) -> Got:
    """A MiB that would be a GiB."""
    bomb = message(_bomb(1024), compressed=True)
    return await _one_by_one(address, effort.many, bomb, call_headers(CHECK, grpc_encoding="gzip"))


async def deep_nesting(address: str, effort: Effort) -> Got:
    """Groups in groups, ten thousand deep."""
    deep = _GROUP * 10_000 + _GROUP_END * 10_000
    return await _one_by_one(address, effort.many, message(deep))


async def unknown_fields(address: str, effort: Effort) -> Got:
    """A million fields that nobody knows."""
    return await _one_by_one(address, effort.many, message(_UNKNOWN * 1_000_000))


async def oversize_batches(address: str, effort: Effort) -> Got:
    """Batches of one request more than is taken."""
    batch = rules_service_pb2.BatchCheckClaimsRequest(
        requests=[rules_service_pb2.CheckClaimRequest()] * 1001
    )
    data = message(batch.SerializeToString())
    return await _one_by_one(address, effort.many, data, call_headers(BATCH))


async def explained_batches(address: str, effort: Effort) -> Got:
    """The largest batches at once, each item explained; their answers are read."""

    async def one(stream: int) -> None:
        await wire.send(request(stream, call_headers(BATCH)))
        await wire.body(stream, LARGE_ANSWER)

    async with _wire(address) as wire:
        await asyncio.gather(*(one(2 * number + 1) for number in range(effort.many)))
        await wire.until(effort.many)
    return wire.got


async def many_headers(address: str, effort: Effort) -> Got:
    """A thousand headers in a call."""
    headers = call_headers(CHECK, *((f"x-{number}", "1") for number in range(1000)))
    return await _at_once(address, [headers] * effort.many)


async def huge_headers(address: str, effort: Effort) -> Got:
    """Headers of 100 KB in a call."""
    return await _at_once(address, [call_headers(CHECK, ("x", "a" * 100_000))] * effort.many)


async def unknown_methods(address: str, effort: Effort) -> Got:
    """Calls of what is not there, each by another path."""
    paths = (f"/liquidation.v1.LiquidationRulesService/No{n}" for n in range(effort.many))
    return await _calls(address, [call_headers(path) for path in paths])


async def wrong_headers(address: str, effort: Effort) -> Got:
    """Calls that are none of gRPC's, or of nobody's."""
    calls = [_calls(address, [headers]) for headers in list(_WRONG) * effort.many]
    return sum([await each for each in calls], Got())


_WRONG: Sequence[Headers] = (
    call_headers(CHECK, te="nothing"),
    call_headers(CHECK, grpc_timeout="soon"),
    call_headers(CHECK, grpc_encoding="zstd"),
    call_headers(CHECK, ("Upper", "x")),
    call_headers("no path"),
    call_headers(""),
    call_headers("/" + "x" * 9000),
    [(name, value.replace("POST", "GET")) for name, value in call_headers(CHECK)],
    [(":path", CHECK)],
)


async def _one_by_one(address: str, many: int, data: bytes, headers: Headers | None = None) -> Got:
    """The same call again and again, each once the last was answered."""
    async with _wire(address) as wire:
        for number in range(many):
            stream = 2 * number + 1
            await wire.send(request(stream, headers or call_headers(CHECK)))
            await wire.body(stream, data)
            await wire.until(number + 1)
    return wire.got


async def _calls(address: str, calls: Iterable[Headers]) -> Got:
    """Sound requests with these headers, each once the last was answered."""
    async with _wire(address) as wire:
        for number, headers in enumerate(calls):
            await wire.send(request(2 * number + 1, headers, CLAIM))
            await wire.until(number + 1)
    return wire.got


async def _at_once(address: str, calls: Sequence[Headers]) -> Got:
    """The same at once: gRPC takes up to a second for each answer to headers that are too long."""
    async with _wire(address) as wire:
        for number, headers in enumerate(calls):
            await wire.send(request(2 * number + 1, headers, CLAIM))
        await wire.until(len(calls))
    return wire.got


@asynccontextmanager
async def _wire(address: str) -> AsyncIterator[Wire]:
    wire = await Wire.open(address)
    await wire.begun()
    try:
        yield wire
    finally:
        await wire.close()


def _bomb(mib: int) -> bytes:
    """So many MiB of zeros; a part that stands for itself is repeated, which takes no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, again = (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (mib - 1) + packer.flush()
