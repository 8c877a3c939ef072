"""Claims that are begun together on PostgreSQL: each is told what is its own, and no more."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from liquidation.rules.model import Decision, StoredState
from liquidation.store.base import BeginRequest, BeginResult
from liquidation.store.postgres.begin import Begin, begin_all
from tests.store.awaited import AwaitedStore
from tests.store.claiming import accept_all, begin, begin_request, granted, refuse
from tests.store.opened import in_transaction, opened, rows, until_blocked
from tests.store.snapshots import snapshot


@pytest.fixture
async def store(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    """A store that knows the liquidations 1 to 3, each of an account of its own."""
    async with opened(postgres_database) as store:
        await store.put([snapshot(each, account_id=f"account-{each}") for each in (1, 2, 3)])
        yield store


async def together(store: AwaitedStore, *requests: BeginRequest) -> list[BeginResult]:
    """What becomes of requests that are sure to go in one transaction."""
    begins = [Begin(each, accept_all) for each in requests]
    outcomes = await in_transaction(store, lambda transaction: begin_all(transaction, begins, {}))
    return [each for each in outcomes if isinstance(each, BeginResult)]


async def ran_out(store: AwaitedStore, dsn: str, *numbers: int) -> list[str]:
    """Claims on these liquidations whose leases have run out, and nobody has noticed."""
    claims = [granted(await begin(store, begin_request(liquidation_id=each))) for each in numbers]
    await rows(dsn, "UPDATE claim SET expire_time = clock_timestamp()")
    return [each.claim_id for each in claims]


def expired(begun: BeginResult) -> list[str]:
    return [each.claim_id for each in begun.expired]


async def test_a_lease_that_ran_out_is_told_to_the_request_whose_account_it_was_on(
    store: AwaitedStore, postgres_database: str
) -> None:
    first, second = await ran_out(store, postgres_database, 1, 2)

    begun = await together(store, *(begin_request(liquidation_id=each) for each in (1, 2, 3)))

    assert [expired(each) for each in begun] == [[first], [second], []]


async def test_of_a_request_that_came_twice_on_two_accounts_each_tells_of_its_own(
    store: AwaitedStore, postgres_database: str
) -> None:
    first, second = await ran_out(store, postgres_database, 1, 2)

    one, other = await together(
        store, *(begin_request("r-1", liquidation_id=each) for each in (1, 2))
    )

    assert granted(one).claim_id == granted(other).claim_id
    assert sorted([one.known, other.known]) == [False, True]
    assert (expired(one), expired(other)) == ([first], [second])


async def test_a_liquidation_that_came_after_the_accounts_were_locked_is_not_known_yet(
    store: AwaitedStore, postgres_database: str
) -> None:
    """Its account is locked by nobody: a claim on it could be granted beside another's."""
    seen: list[StoredState] = []

    def look(state: StoredState) -> Decision:
        seen.append(state)
        return accept_all(state) if state.liquidation else refuse(state)

    async with await psycopg.AsyncConnection.connect(postgres_database) as other:
        # Where claims are looked at, accounts are locked already.
        await other.execute("LOCK TABLE claim")
        beginning = asyncio.create_task(begin(store, begin_request(liquidation_id=7), look))
        await until_blocked(postgres_database, beginning)
        await rows(
            postgres_database,
            """
            INSERT INTO liquidation SELECT 7, 'account-7', revision, snapshot, open_time
            FROM liquidation LIMIT 1
            """,
        )
        await other.commit()
        begun = await beginning

    assert begun.claim is None
    assert seen == [StoredState()]
