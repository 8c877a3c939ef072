"""What every store promises about liquidations."""

import asyncio
from decimal import Decimal

import pytest

from liquidation.rules.model import StoredState
from liquidation.store.base import AccountMismatchError, Page, StateQuery
from liquidation.store.postgres import states as postgres_pages
from liquidation.store.sqlite import claim_rows as sqlite_pages
from tests.store.awaited import AwaitedStore
from tests.store.conftest import OpenStore
from tests.store.snapshots import PLAIN, snapshot, with_account

NOBODY = "nobody"


async def state(
    store: AwaitedStore, liquidation_id: int, liquidator_id: str = NOBODY
) -> StoredState:
    (found,) = await store.states([StateQuery(liquidation_id, liquidator_id)])
    return found


async def test_a_snapshot_comes_back_to_the_last_digit(store: AwaitedStore) -> None:
    await store.put([PLAIN])

    assert await store.get(1) == PLAIN


async def test_ratios_computed_from_an_account_come_back_exactly(store: AwaitedStore) -> None:
    computed = with_account()
    await store.put([computed])

    assert await store.get(1) == computed


async def test_the_first_snapshot_opens_the_liquidation(store: AwaitedStore) -> None:
    (result,) = await store.put([PLAIN])

    assert (result.applied, result.opened, result.closed) == (True, True, False)
    assert result.liquidation == PLAIN


async def test_a_higher_revision_replaces_the_snapshot(store: AwaitedStore) -> None:
    await store.put([snapshot(revision=1)])

    newer = snapshot(revision=2, margin_ratio=Decimal("0.5"))
    (result,) = await store.put([newer])

    assert (result.applied, result.opened) == (True, False)
    assert result.liquidation == await store.get(1) == newer


@pytest.mark.parametrize("revision", [4, 5], ids=["lower", "equal"])
async def test_a_revision_that_is_not_higher_changes_nothing(
    store: AwaitedStore, revision: int
) -> None:
    stored = snapshot(revision=5)
    await store.put([stored])

    (result,) = await store.put([snapshot(revision=revision, margin_ratio=Decimal("0.5"))])

    assert not result.applied
    assert result.liquidation == stored
    assert await store.get(1) == stored


async def test_the_largest_id_and_revision_are_kept(store: AwaitedStore) -> None:
    largest = snapshot(2**63 - 1, 2**63 - 1)
    await store.put([largest])

    assert await store.get(2**63 - 1) == largest


async def test_one_call_may_put_a_liquidation_twice(store: AwaitedStore) -> None:
    results = await store.put([snapshot(revision=1), snapshot(revision=3), snapshot(revision=2)])

    assert [result.applied for result in results] == [True, True, False]
    assert [result.opened for result in results] == [True, False, False]
    assert [result.closed for result in results] == [False, False, False]
    assert results[2].liquidation.revision == 3


async def test_another_account_is_refused_and_nothing_of_the_call_is_stored(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])

    with pytest.raises(AccountMismatchError) as raised:
        await store.put([snapshot(2), snapshot(1, revision=2, account_id="account-2"), snapshot(3)])

    assert raised.value.index == 1
    assert await store.get(1) == snapshot(1)
    assert await store.get(2) is None
    assert await store.get(3) is None


async def test_one_caller_s_mistake_does_not_undo_what_others_put_meanwhile(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])
    stranger = snapshot(1, revision=2, account_id="account-2")

    outcomes = await asyncio.gather(
        store.put([snapshot(2)]),
        store.put([snapshot(3), stranger]),
        store.put([snapshot(4)]),
        return_exceptions=True,
    )

    assert isinstance(outcomes[1], AccountMismatchError)
    assert [await store.get(each) is not None for each in (2, 3, 4)] == [True, False, True]


async def test_an_unknown_liquidation_is_not_found(store: AwaitedStore) -> None:
    assert await store.get(1) is None
    assert await store.close_liquidation(1) is None
    assert await state(store, 1) == StoredState()


async def test_closing_returns_the_last_snapshot_and_ends_it(store: AwaitedStore) -> None:
    await store.put([PLAIN])

    assert await store.close_liquidation(1) == PLAIN
    assert await store.get(1) is None
    assert await store.close_liquidation(1) is None


async def test_no_snapshot_opens_a_closed_liquidation_again(store: AwaitedStore) -> None:
    await store.put([PLAIN])
    await store.close_liquidation(1)

    (result,) = await store.put([snapshot(revision=9)])

    assert (result.applied, result.opened, result.closed) == (False, False, True)
    assert result.liquidation == PLAIN
    assert (await state(store, 1)).closed


async def test_a_standing_has_the_stored_snapshot(store: AwaitedStore) -> None:
    await store.put([PLAIN])

    assert await state(store, 1) == StoredState(liquidation=PLAIN)


async def test_standings_come_in_the_order_of_the_questions(store: AwaitedStore) -> None:
    await store.put([snapshot(1), snapshot(2), snapshot(3)])

    found = await store.states([StateQuery(each, NOBODY) for each in (3, 9, 1, 3)])

    ids = [each.liquidation.liquidation_id if each.liquidation else None for each in found]
    assert ids == [3, None, 1, 3]


async def test_a_liquidator_with_an_open_liquidation_is_in_liquidation(store: AwaitedStore) -> None:
    await store.put([snapshot(1), snapshot(2, account_id="liquidator-1")])

    assert (await state(store, 1, "liquidator-1")).liquidator_in_liquidation
    assert not (await state(store, 1, "liquidator-2")).liquidator_in_liquidation

    await store.close_liquidation(2)
    assert not (await state(store, 1, "liquidator-1")).liquidator_in_liquidation


async def test_pages_give_every_open_liquidation_once_by_id(store: AwaitedStore) -> None:
    await store.put([snapshot(each) for each in (7, 1, 5, 3, 9, 11, 4)])
    await store.close_liquidation(5)

    first = await store.page("", 0, 3)
    assert first.next_after is not None
    second = await store.page("", first.next_after, 3)

    ids = [each.liquidation_id for page in (first, second) for each in page.liquidations]
    assert ids == [1, 3, 4, 7, 9, 11]
    assert (first.next_after, second.next_after) == (4, None)


async def test_a_page_may_be_of_one_account(store: AwaitedStore) -> None:
    await store.put([snapshot(each, account_id=f"account-{each % 2}") for each in range(1, 8)])

    page = await store.page("account-1", 1, 100)

    assert [each.liquidation_id for each in page.liquidations] == [3, 5, 7]


async def test_everything_is_there_after_opening_again(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.put([snapshot(1), snapshot(2)])
        await store.close_liquidation(2)

    async with open_store() as store:
        assert await store.get(1) == snapshot(1)
        assert (await state(store, 2)).closed


async def test_two_openers_see_each_other_s_writes_at_once(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        await one.put([snapshot(1)])
        assert await other.get(1) == snapshot(1)

        await other.close_liquidation(1)
        assert (await state(one, 1)).closed


async def test_many_put_at_once_and_each_gets_its_own_answer(store: AwaitedStore) -> None:
    results = await asyncio.gather(*(store.put([snapshot(each)]) for each in range(1, 501)))

    assert [result[0].liquidation.liquidation_id for result in results] == list(range(1, 501))
    assert len((await store.page("", 0, 1000)).liquidations) == 500


async def test_one_caller_s_mistake_does_not_refuse_what_another_puts_meanwhile(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])
    mistaken = [snapshot(7), snapshot(1, revision=2, account_id="account-2")]
    sound = [snapshot(7, account_id="account-2")]

    # Two that go at once first, so that those after them share a batch.
    *_, first, second = await asyncio.gather(
        *(store.put(each) for each in ([snapshot(50)], [snapshot(51)], mistaken, sound)),
        return_exceptions=True,
    )

    assert isinstance(first, AccountMismatchError)
    assert not isinstance(second, BaseException)
    assert await store.get(7) == sound[0]


async def test_of_many_that_race_to_open_exactly_one_does(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        results = await asyncio.gather(
            *((one, other)[each % 2].put([snapshot(1, revision=each)]) for each in range(1, 41))
        )

        assert sum(result[0].opened for result in results) == 1
        stored = await one.get(1)
        assert stored is not None
        assert stored.revision == 40


async def test_a_store_that_answers_passes_its_probe(store: AwaitedStore) -> None:
    await store.probe()


def ids(page: Page) -> list[int]:
    return [each.liquidation_id for each in page.liquidations]


async def test_a_page_ends_behind_the_row_with_which_it_is_large_enough(
    store: AwaitedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A snapshot has some 300 bytes, in either engine's form.
    await store.put([snapshot(number) for number in range(1, 8)])
    for bytes_, size, pages in (
        (1, 10, [[1], [2], [3], [4], [5], [6], [7]]),
        (500, 10, [[1, 2], [3, 4], [5, 6], [7]]),
        (500, 1, [[1], [2], [3], [4], [5], [6], [7]]),
        (100_000, 4, [[1, 2, 3, 4], [5, 6, 7]]),
        (100_000, 7, [[1, 2, 3, 4, 5, 6, 7]]),
    ):
        for room in (sqlite_pages, postgres_pages):
            monkeypatch.setattr(room, "MAX_PAGE_BYTES", bytes_)
        for account_id in ("", "account-1"):
            found, after = [], 0
            while True:
                page = await store.page(account_id, after, size)
                found.append(ids(page))
                if page.next_after is None:
                    break
                after = page.next_after
            assert found == pages, (bytes_, size)
