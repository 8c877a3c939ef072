"""What comes between a look and a write of one transaction, or of the account of another."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from liquidation.rules.model import Decision, StoredState
from liquidation.store.base import StateQuery
from tests.store.awaited import AwaitedStore
from tests.store.claiming import accept, begin, begin_request, granted, refuse
from tests.store.opened import opened, rows, until_blocked
from tests.store.snapshots import snapshot


@pytest.fixture
async def store(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    async with opened(postgres_database) as store:
        yield store


async def test_a_liquidation_that_another_account_got_meanwhile_is_seen_to_be_that_account_s(
    store: AwaitedStore, postgres_database: str
) -> None:
    await store.put([snapshot(1, account_id="account-1")])
    seen: list[StoredState] = []

    def look(state: StoredState) -> Decision:
        seen.append(state)
        return refuse(state)

    async with await psycopg.AsyncConnection.connect(postgres_database) as other:
        # Where claims are looked at, accounts are locked already.
        await other.execute("LOCK TABLE claim")
        request = begin_request(snapshot=snapshot(7, account_id="account-1"))
        beginning = asyncio.create_task(begin(store, request, look))
        await until_blocked(postgres_database, beginning)
        await rows(
            postgres_database,
            """
            INSERT INTO liquidation SELECT 7, 'account-2', revision, snapshot || '{"account_id":
                "account-2"}', open_time FROM liquidation
            """,
        )
        await other.commit()
        begun = await beginning

    assert begun.put is None
    assert seen
    assert all(each.liquidation and each.liquidation.account_id == "account-2" for each in seen)


async def test_a_lease_that_ran_out_is_told_also_where_a_request_names_another_account(
    store: AwaitedStore, postgres_database: str
) -> None:
    claim = granted(await begin(store, begin_request(snapshot=snapshot(1, account_id="account-1"))))
    await rows(postgres_database, "UPDATE claim SET expire_time = clock_timestamp()")

    stranger = snapshot(1, 2, account_id="account-2")
    begun = await begin(store, begin_request(snapshot=stranger), refuse)

    assert [each.claim_id for each in begun.expired] == [claim.claim_id]
    assert await store.expire(10) == ()


async def test_what_is_asked_for_together_is_told_once(
    store: AwaitedStore, postgres_database: str
) -> None:
    await store.put([snapshot(1), snapshot(3)])
    claim = granted(await begin(store, begin_request(liquidation_id=1)))
    await rows(postgres_database, "UPDATE claim SET expire_time = clock_timestamp()")

    outcomes = await asyncio.gather(
        *(
            begin(store, begin_request(snapshot=snapshot(each, 2)), accept)
            for each in (1, 3, 1, 3, 9, 9)
        )
    )

    told = [each.claim_id for begun in outcomes for each in begun.expired]
    assert told == [claim.claim_id]
    opened_ = [
        begun.put.liquidation.liquidation_id for begun in outcomes if begun.put and begun.put.opened
    ]
    assert opened_ == [9]
    assert sum(begun.claim is not None for begun in outcomes) == 1
    (state,) = await store.states([StateQuery(1, "nobody")])
    assert state.active_claim is not None
