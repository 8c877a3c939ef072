"""What the embedded store promises by its host's clock, and a server's clock cannot promise.

A PostgreSQL server has no clock but the one on the wall: where that jumps, leases end with it.
"""

import pytest

from tests.clocks import Clock
from tests.store.awaited import AwaitedStore
from tests.store.claiming import LEASE_S, accept_all, begin, granted
from tests.store.conftest import OpenStore
from tests.store.snapshots import snapshot

HOUR_S = 3600


@pytest.fixture
def engine() -> str:
    return "sqlite"


@pytest.fixture(autouse=True)
async def known_liquidation(store: AwaitedStore) -> None:
    await store.put([snapshot(1)])


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
async def test_a_wall_clock_that_jumps_neither_frees_nor_locks_an_account(
    store: AwaitedStore, clock: Clock, jump_s: float
) -> None:
    await begin(store)

    clock.set_wall(jump_s)

    assert (await begin(store, None, accept_all)).claim is None
    clock.advance(LEASE_S)
    assert granted(await begin(store))


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
async def test_opened_again_on_the_same_host_a_lease_runs_as_it_did(
    open_store: OpenStore, clock: Clock, jump_s: float
) -> None:
    async with open_store() as store:
        await begin(store)
    clock.advance(10)
    clock.set_wall(jump_s)

    async with open_store() as store:
        clock.advance(LEASE_S - 10 - 0.000001)
        assert (await begin(store, None, accept_all)).claim is None
        clock.advance(0.000001)
        assert granted(await begin(store))


@pytest.mark.parametrize("jump_s", [-HOUR_S, 0, 10], ids=["back", "right", "ten seconds on"])
async def test_over_a_restart_of_the_host_no_lease_runs_longer_than_it_was_given(
    open_store: OpenStore, clock: Clock, jump_s: float
) -> None:
    async with open_store() as store:
        await begin(store)
    clock.restart()
    clock.set_wall(jump_s)

    async with open_store() as store:
        left_s = LEASE_S - max(jump_s, 0)
        clock.advance(left_s - 0.000001)
        assert (await begin(store, None, accept_all)).claim is None
        clock.advance(0.000001)
        assert granted(await begin(store))
