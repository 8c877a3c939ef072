"""What every store promises about liquidations."""

import asyncio
from decimal import Decimal

import pytest

from liquidation.rules.model import Liquidation, StoredState
from liquidation.store.base import AccountMismatchError, StateQuery
from liquidation.store.postgres import rows as postgres_pages
from liquidation.store.sqlite import rows as sqlite_pages
from tests.store.builders import PLAIN, of_account, snapshot, state_of, with_account
from tests.store.conftest import OpenStore
from tests.store.stores import AwaitedStore


@pytest.mark.parametrize(
    "sent",
    [PLAIN, with_account(), snapshot(2**63 - 1, 2**63 - 1)],
    ids=["plain", "ratios without a last digit", "largest numbers"],
)
async def test_a_snapshot_is_read_back_exactly(store: AwaitedStore, sent: Liquidation) -> None:
    (put,) = await store.put([sent])

    assert (put.applied, put.opened, put.closed, put.liquidation) == (True, True, False, sent)
    assert await store.get(sent.liquidation_id) == sent
    assert await state_of(store, sent.liquidation_id) == StoredState(liquidation=sent)


@pytest.mark.parametrize("revision", [4, 5, 6])
async def test_a_snapshot_is_applied_only_if_its_revision_is_higher(
    store: AwaitedStore, revision: int
) -> None:
    await store.put([snapshot(revision=5)])
    sent = snapshot(revision=revision, margin_ratio=Decimal("0.5"))

    (put,) = await store.put([sent])

    assert (put.applied, put.opened) == (revision > 5, False)
    assert put.liquidation == await store.get(1) == (sent if revision > 5 else snapshot(revision=5))


async def test_one_call_may_put_a_liquidation_twice(store: AwaitedStore) -> None:
    results = await store.put([snapshot(revision=1), snapshot(revision=3), snapshot(revision=2)])

    assert [each.applied for each in results] == [True, True, False]
    assert [each.opened for each in results] == [True, False, False]
    assert results[2].liquidation.revision == 3


async def test_a_call_with_a_liquidation_of_another_account_stores_nothing(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])

    with pytest.raises(AccountMismatchError) as raised:
        await store.put([snapshot(2), snapshot(1, revision=2, account_id="account-2"), snapshot(3)])

    assert raised.value.index == 1
    assert (await store.page("", 0, 10)).liquidations == [snapshot(1)]


async def test_a_call_that_is_refused_does_not_affect_others_at_the_same_time(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])
    stranger = snapshot(1, revision=2, account_id="account-2")
    calls = [
        [snapshot(2)],
        [snapshot(3), stranger],
        [snapshot(4)],
        # What the first of these two would have stored is in nobody's way.
        [snapshot(7), stranger],
        [snapshot(7, account_id="account-2")],
    ]

    outcomes = await asyncio.gather(*map(store.put, calls), return_exceptions=True)

    refused = [isinstance(each, AccountMismatchError) for each in outcomes]
    assert refused == [False, True, False, True, False]
    stored = (await store.page("", 1, 10)).liquidations
    assert stored == [calls[0][0], calls[2][0], calls[4][0]]


async def test_a_liquidation_that_was_never_put_is_not_found(store: AwaitedStore) -> None:
    assert await store.get(1) is None
    assert await store.close_liquidation(1) is None
    assert await state_of(store) == StoredState()
    assert await store.states([]) == []
    assert await store.put([]) == []


async def test_a_closed_liquidation_stays_closed(store: AwaitedStore) -> None:
    await store.put([PLAIN])

    assert await store.close_liquidation(1) == PLAIN
    assert await store.get(1) is None
    assert await store.close_liquidation(1) is None
    (put,) = await store.put([snapshot(revision=9)])

    assert (put.applied, put.opened, put.closed) == (False, False, True)
    assert put.liquidation == PLAIN
    assert (await state_of(store)).closed


async def test_states_are_in_the_order_of_the_queries(store: AwaitedStore) -> None:
    await store.put([snapshot(1), snapshot(2), snapshot(3)])

    found = await store.states([StateQuery(each, "nobody") for each in (3, 9, 1, 3)])

    ids = [each.liquidation.liquidation_id if each.liquidation else None for each in found]
    assert ids == [3, None, 1, 3]


async def test_a_liquidator_is_in_liquidation_while_one_of_its_account_is_open(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1), snapshot(2, account_id="liquidator-1")])

    assert (await state_of(store, 1, "liquidator-1")).liquidator_in_liquidation
    assert not (await state_of(store, 1, "liquidator-2")).liquidator_in_liquidation
    await store.close_liquidation(2)
    assert not (await state_of(store, 1, "liquidator-1")).liquidator_in_liquidation


async def test_pages_have_every_open_liquidation_once_by_id(store: AwaitedStore) -> None:
    await store.put(
        [snapshot(each, account_id=f"account-{each % 2}") for each in (7, 1, 5, 3, 9, 11, 4)]
    )
    await store.close_liquidation(5)

    async def pages(account_id: str, after: int) -> list[list[int]]:
        page = await store.page(account_id, after, 3)
        found = [each.liquidation_id for each in page.liquidations]
        return [found, *(await pages(account_id, page.next_after) if page.next_after else [])]

    assert await pages("", 0) == [[1, 3, 4], [7, 9, 11]]
    assert await pages("account-1", 1) == [[3, 7, 9], [11]]
    assert await pages("account-2", 0) == [[]]


@pytest.mark.parametrize(
    ("most_bytes", "size", "pages"),
    [
        # A snapshot has some 300 bytes, in either engine's form.
        (1, 10, [[1], [2], [3], [4], [5], [6], [7]]),
        (500, 10, [[1, 2], [3, 4], [5, 6], [7]]),
        (500, 1, [[1], [2], [3], [4], [5], [6], [7]]),
        (100_000, 7, [[1, 2, 3, 4, 5, 6, 7]]),
    ],
)
async def test_a_page_ends_with_the_row_that_makes_it_large_enough(
    store: AwaitedStore,
    monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
    size: int,
    pages: list[list[int]],
) -> None:
    await store.put([snapshot(number) for number in range(1, 8)])
    for engine in (sqlite_pages, postgres_pages):
        monkeypatch.setattr(engine, "MAX_PAGE_BYTES", most_bytes)
    page = await store.page("account-1", 0, size)
    found = [page.liquidations]
    while page.next_after is not None:
        page = await store.page("account-1", page.next_after, size)
        found.append(page.liquidations)

    assert [[each.liquidation_id for each in part] for part in found] == pages


async def test_all_is_there_after_opening_again_and_seen_by_others_at_once(
    open_store: OpenStore,
) -> None:
    async with open_store() as one, open_store() as other:
        await one.put([snapshot(1), snapshot(2)])
        assert await other.get(1) == snapshot(1)
        await other.close_liquidation(2)
        assert (await state_of(one, 2)).closed

    async with open_store() as store:
        assert await store.get(1) == snapshot(1)
        assert (await state_of(store, 2)).closed


async def test_of_many_put_at_once_each_gets_its_own_answer(store: AwaitedStore) -> None:
    sent = [of_account(each) for each in range(1, 301)]

    results = await asyncio.gather(*(store.put([each]) for each in sent))

    assert [put.liquidation for (put,) in results] == sent
    assert (await store.page("", 0, 1000)).liquidations == sent


async def test_of_many_that_race_to_open_exactly_one_does(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        results = await asyncio.gather(
            *((one, other)[each % 2].put([snapshot(1, revision=each)]) for each in range(1, 41))
        )

        assert sum(put.opened for (put,) in results) == 1
        assert await one.get(1) == snapshot(1, revision=40)


async def test_the_states_of_many_requests_are_read_without_a_cache_too(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1), snapshot(2)])
    queries = [StateQuery(each, "nobody") for each in (1, 2, 3)]

    assert await store.read_states(queries) == await store.states(queries)
