"""A stream is read ahead, and never further than its bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from liquidation.api.desk import TURN
from liquidation.api.reading import ReadAhead


class Items:
    """The items of a caller who always has one more, and how many were taken."""

    def __init__(self, size: int, count: int = 10_000, error: Exception | None = None) -> None:
        self.taken = 0
        self._size = size
        self._count = count
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < self._count:
            self.taken += 1
            yield self.taken.to_bytes(2) + bytes(self._size - 2)
        if self._error is not None:
            raise self._error


def numbers(turn: list[bytes]) -> list[int]:
    return [int.from_bytes(each[:2]) for each in turn]


async def settled() -> None:
    """Returns when nobody has anything to do any more."""
    for _ in range(1000):
        await asyncio.sleep(0)


async def test_items_come_in_order_and_up_to_32_at_a_time() -> None:
    reading = ReadAhead(aiter(Items(10, count=70)))
    await settled()

    turns = [numbers(await reading.turn()) for _ in range(4)]

    assert [len(turn) for turn in turns] == [TURN, TURN, 6, 0]
    assert [each for turn in turns for each in turn] == list(range(1, 71))


async def test_one_item_does_not_wait_for_another() -> None:
    asked = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield b"first"
        await asked.wait()
        yield b"second"

    reading = ReadAhead(requests())

    assert await reading.turn() == [b"first"]
    asked.set()
    assert await reading.turn() == [b"second"]
    assert await reading.turn() == []


@pytest.mark.parametrize(("size", "most"), [(10, 64), (100_000, 3), (4 * 1024 * 1024, 1)])
async def test_no_more_is_read_ahead_than_its_bounds_allow(size: int, most: int) -> None:
    items = Items(size)
    reading = ReadAhead(aiter(items))
    await settled()
    assert items.taken == most

    turn = await reading.turn()
    await settled()

    assert items.taken == most + len(turn)
    reading.end()


async def test_who_waits_for_the_next_item_is_told_of_the_end() -> None:
    async def silent() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b"never"

    reading = ReadAhead(silent())
    waiting = asyncio.create_task(reading.turn())
    await settled()

    reading.end()

    assert await waiting == []


async def test_what_goes_wrong_is_raised_behind_what_came_before() -> None:
    reading = ReadAhead(aiter(Items(10, count=2, error=ValueError("torn"))))
    await settled()

    assert numbers(await reading.turn()) == [1, 2]
    with pytest.raises(ValueError, match="torn"):
        await reading.turn()
