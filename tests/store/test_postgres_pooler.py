"""Behind PgBouncer in transaction mode, where sessions of several stores share connections.

That every promise of a store holds there is shown by the conformance suite, which runs so too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import StoreUnavailableError
from tests.store.builders import accept_all, begin, begin_request, granted, snapshot
from tests.store.postgres.pgbouncer import SERVER_CONNECTIONS, PgBouncer
from tests.store.stores import AwaitedStore, once_it_answers, postgres_store, rows

STORES = 3
ACCOUNTS = 16


@pytest.fixture
def dsn(pooler: PgBouncer, postgres_database: str) -> str:
    """An empty database behind the pooler."""
    return pooler.dsn(postgres_database)


@pytest.fixture
async def stores(dsn: str) -> AsyncIterator[list[AwaitedStore]]:
    """Several stores with more connections to the pooler than that has to the server."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(postgres_store(dsn)) for _ in range(STORES)]
        await stores[0].put(
            [snapshot(each, account_id=f"account-{each}") for each in range(1, ACCOUNTS + 1)]
        )
        yield stores


async def test_several_stores_grant_each_account_once_over_a_few_connections(
    stores: list[AwaitedStore], postgres_database: str
) -> None:
    for _ in range(3):
        outcomes = await asyncio.gather(
            *(
                begin(store, begin_request(liquidation_id=account), accept_all)
                for store in stores
                for account in range(1, ACCOUNTS + 1)
            )
        )
        claims = [each.claim for each in outcomes if each.claim is not None]
        assert sorted(each.account_id for each in claims) == sorted(
            f"account-{each}" for each in range(1, ACCOUNTS + 1)
        )
        ended = await asyncio.gather(
            *(
                stores[place % STORES].end(
                    each.claim_id, each.fencing_token, ClaimState.CANCELLED, ""
                )
                for place, each in enumerate(claims)
            )
        )
        assert all(each.applied for each in ended)
    ((sessions,),) = await rows(
        postgres_database,
        """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        """,
    )
    assert sessions <= SERVER_CONNECTIONS


async def test_no_transaction_leaves_anything_behind_for_the_next_session(
    stores: list[AwaitedStore], dsn: str, postgres_database: str
) -> None:
    for _ in range(4):  # what is prepared is so when it comes again
        await asyncio.gather(*(store.probe() for store in stores for _ in range(8)))
    names = ["statement_timeout", "lock_timeout", "synchronous_commit", "enable_seqscan"]
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)

    fresh = await rows(postgres_database, query)
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, prepare_threshold=None
    ) as connection:
        for _ in range(2 * SERVER_CONNECTIONS):
            assert await (await connection.execute(query)).fetchall() == fresh
            left = await connection.execute("SELECT name, statement FROM pg_prepared_statements")
            assert await left.fetchall() == []


async def test_a_pooler_that_holds_everybody_back_is_a_store_that_does_not_answer(
    pooler: PgBouncer, dsn: str, postgres_database: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_database)["dbname"]
    async with postgres_store(dsn, timeout_s=1.0) as store:
        await store.put([snapshot(1)])
        with pooler.connect() as console:
            await asyncio.to_thread(console.execute, f"PAUSE {name}")
            try:
                async with asyncio.timeout(10):
                    with pytest.raises(StoreUnavailableError):
                        await store.probe()
                    with pytest.raises(StoreUnavailableError):
                        await begin(store, begin_request("r-1"))
            finally:
                console.execute(f"RESUME {name}")
        claim = granted(await once_it_answers(lambda: begin(store, begin_request("r-1"))))
        assert await store.claim(request_id="r-1") == claim
