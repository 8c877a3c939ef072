"""Moving a store from SQLite to PostgreSQL, whatever happened in it before."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.model import ClaimState
from liquidation.store.base import StateQuery
from tests.clocks import Clock
from tests.store.builders import begin, begin_request, of_account, snapshot
from tests.store.moving import everything, moved, moving_claim
from tests.store.postgres.databases import Databases
from tests.store.stores import AwaitedStore, ServerClock, postgres_store, set_up, sqlite_store
from tests.unit.seeded import seeded

# A step of a history: what is done, on which of the accounts, or by how many seconds.
STEPS = st.tuples(
    st.sampled_from(
        ["claim", "claim", "renew", "complete", "cancel", "force", "put", "close", "wait",
         "expire", "purge", "restart"]
    ),
    st.integers(1, 3),
)  # fmt: skip


@given(steps=st.lists(STEPS, max_size=30))
@seeded(8)
def test_any_history_is_moved_as_it_is(
    postgres_databases: Databases, tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("drawn") / "store.db"
    with postgres_databases.lend() as dsn:
        asyncio.run(lived_and_moved(path, dsn, steps))


async def lived_and_moved(path: Path, dsn: str, steps: list[Any]) -> None:
    clock = Clock()
    await set_up(dsn)
    async with sqlite_store(path, clock) as store:
        for place, (what, number) in enumerate(steps):
            await live(store, clock, what, number, place)
    async with sqlite_store(path, clock) as store:
        before = await everything(store)
        tokens = [each.fencing_token for each in before["claims"]]
    with ServerClock(dsn) as server_clock:
        server_clock.set_wall((clock.wall_us() - server_clock.wall_us()) / 1_000_000)
        copied = await moved(path, dsn, clock)
        async with postgres_store(dsn) as store:
            assert await everything(store) == before
            new = await moving_claim(store, 10)
    assert new.fencing_token == copied.next_token > max(tokens, default=0)


async def live(store: AwaitedStore, clock: Clock, what: str, number: int, place: int) -> None:
    """Does one step; where there is nothing to do it on, it does nothing."""
    state, *_ = await store.states([StateQuery(number, "nobody", f"account-{number}")])
    active = state.active_claim
    if what == "claim":
        request = begin_request(f"drawn-{place}", of_account(number), lease_s=10 * number)
        await begin(store, request)
    elif what == "put":
        await store.put([snapshot(number, place + 2, account_id=f"account-{number}")])
    elif what == "close" and active is None:
        await store.close_liquidation(number)
    elif what == "wait":
        clock.advance(4 * number)
    elif what == "expire":
        await store.expire(number)
    elif what == "purge":
        await store.purge(retention_us=10_000_000 * number, most=number)
    elif what == "restart":
        clock.restart()
    elif active is not None:
        await change(store, active.claim_id, what)


async def change(store: AwaitedStore, claim_id: str, what: str) -> None:
    claim = await store.claim(claim_id=claim_id)
    assert claim is not None
    if what == "renew":
        await store.renew(claim_id, claim.fencing_token, 25_000_000)
    elif what == "complete":
        await store.end(claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
    else:
        await store.end(claim_id, None, ClaimState.CANCELLED, "é")
