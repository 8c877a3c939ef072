"""Calls as large as the service takes them, and many of them at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from liquidation.rules.decision import Decision
from liquidation.rules.model import ClaimedPosition, Liquidation, Position, StoredState
from liquidation.store.base import StateQuery
from tests.store.builders import accept_all, begin_request, granted, snapshot
from tests.store.stores import AwaitedStore, postgres_store

MOST_SNAPSHOTS = 1000
MOST_POSITIONS = 256


@pytest.fixture
async def store(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    # What hangs, hangs for good: patience is for a busy machine.
    async with postgres_store(postgres_database, timeout_s=30) as store:
        yield store


def positions(count: int) -> tuple[Position, ...]:
    return tuple(
        Position(f"PERP_{each}_USDC", Decimal("123456.789"), Decimal("98765.4321"))
        for each in range(count)
    )


def call(first: int, revision: int, count: int = 2) -> list[Liquidation]:
    """As many snapshots as a call may bring, of accounts of their own."""
    held = positions(count)
    return [
        snapshot(each, revision, account_id=f"account-{each}", positions=held)
        for each in range(first, first + MOST_SNAPSHOTS)
    ]


async def test_a_call_that_brings_and_gets_back_more_than_the_network_holds_ends(
    store: AwaitedStore,
) -> None:
    for revision in (1, 2):
        results = await store.put(call(1, revision, count=120))

        assert {(each.applied, each.opened) for each in results} == {(True, revision == 1)}
    queries = [StateQuery(each, "nobody") for each in range(1, MOST_SNAPSHOTS + 1)]
    found = await store.states(queries)
    assert {each.liquidation and each.liquidation.revision for each in found} == {2}


async def test_many_large_calls_at_once_are_all_done_and_none_waits_for_all_others(
    postgres_database: str,
) -> None:
    firsts = range(1, 16 * MOST_SNAPSHOTS, MOST_SNAPSHOTS)
    calls_in_a_commit: list[int] = []

    def committed(calls: int, _: float) -> None:
        calls_in_a_commit.append(calls)

    async with postgres_store(postgres_database, timeout_s=30, committed=committed) as store:
        for revision in (1, 2):
            done = await asyncio.gather(*(store.put(call(first, revision)) for first in firsts))
            assert all(each.applied for results in done for each in results)

    assert calls_in_a_commit == [1] * 2 * len(firsts)


async def test_many_claims_on_as_many_positions_as_there_may_be_are_granted_together(
    store: AwaitedStore,
) -> None:
    held = positions(MOST_POSITIONS)

    def accept(state: StoredState) -> Decision:
        taken = tuple(ClaimedPosition(each.symbol, *["1"] * 3) for each in held)
        return replace(accept_all(state), positions=taken)

    begun = await asyncio.gather(
        *(
            store.begin(
                begin_request(
                    snapshot=snapshot(each, account_id=f"account-{each}", positions=held)
                ),
                accept,
            )
            for each in range(1, 129)
        )
    )

    assert {len(granted(each).positions) for each in begun} == {MOST_POSITIONS}
