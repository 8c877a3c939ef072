"""Accounts that somebody else holds: their claims wait in vain, and all other claims do not."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import BeginResult, StateQuery, StoreUnavailableError
from liquidation.store.postgres.connection import Transaction
from liquidation.store.postgres.states import about, lock_accounts
from tests.store.awaited import AwaitedStore
from tests.store.claiming import begin, begin_request, granted
from tests.store.opened import in_transaction, opened
from tests.store.snapshots import snapshot

HELD = 1


def account(number: int) -> str:
    return f"account-{number}"


@pytest.fixture
async def store(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    """A store with an account for each of the liquidations 1 to 50."""
    async with opened(postgres_database) as store:
        await store.put([snapshot(each, account_id=account(each)) for each in range(1, 51)])
        yield store


@asynccontextmanager
async def held(dsn: str, number: int = HELD) -> AsyncIterator[None]:
    """Another session holds an account, as long as it likes."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "SELECT FROM account WHERE account_id = %s FOR UPDATE", (account(number),)
        )
        yield
        await connection.rollback()


async def begun_or_not(
    store: AwaitedStore, number: int, request_id: str = ""
) -> BeginResult | None:
    try:
        request = begin_request(request_id or None, liquidation_id=number)
        return await begin(store, request)
    except StoreUnavailableError:
        return None


async def test_one_account_that_is_held_refuses_none_of_the_others_in_the_same_group(
    store: AwaitedStore, postgres_database: str
) -> None:
    async with held(postgres_database):
        outcomes = await asyncio.gather(*(begun_or_not(store, each) for each in range(1, 51)))

    refused, *others = outcomes
    assert refused is None
    assert all(each is not None and each.claim is not None for each in others)
    assert granted(await begin(store, begin_request(liquidation_id=HELD)))


async def test_what_waits_for_one_account_holds_up_nobody_else(
    store: AwaitedStore, postgres_database: str
) -> None:
    over = False

    async def insist(caller: int) -> None:
        tries = 0
        while not over:
            assert await begun_or_not(store, HELD, f"insists-{caller}-{tries}") is None
            tries += 1

    async with held(postgres_database), asyncio.TaskGroup() as tasks:
        for caller in range(3):
            tasks.create_task(insist(caller))
        for number in range(2, 51, 4):
            four = range(number, min(number + 4, 51))
            outcomes = await asyncio.gather(*(begun_or_not(store, each) for each in four))
            assert None not in outcomes
        over = True


@pytest.mark.parametrize("kind", ["put", "close", "renew", "end"])
async def test_every_write_on_an_account_that_is_held_is_refused_and_happens_never(
    store: AwaitedStore, postgres_database: str, kind: str
) -> None:
    claim = granted(await begin(store, begin_request(liquidation_id=HELD)))
    # The account is given free once nothing is under way there any more.
    async with held(postgres_database), opened(postgres_database, timeout_s=0.5) as hasty:
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: hasty.put([snapshot(HELD, 2, account_id=account(HELD))]),
            "close": lambda: hasty.close_liquidation(HELD),
            "renew": lambda: hasty.renew(claim.claim_id, claim.fencing_token, 99_000_000),
            "end": lambda: hasty.end(claim.claim_id, None, ClaimState.CANCELLED, ""),
        }
        with pytest.raises(StoreUnavailableError):
            await writes[kind]()

    assert await store.get(HELD) == snapshot(HELD, account_id=account(HELD))
    assert await store.claim(claim_id=claim.claim_id) == claim


async def test_reads_wait_for_nobody(store: AwaitedStore, postgres_database: str) -> None:
    async with held(postgres_database):
        (state,) = await store.states([StateQuery(HELD, "nobody")])

    assert state.liquidation is not None


async def test_a_client_that_hangs_in_the_middle_loses_the_account_while_others_still_wait(
    store: AwaitedStore, postgres_database: str
) -> None:
    asked = about([StateQuery(HELD, "nobody")])
    holds, over = threading.Event(), threading.Event()
    tries: list[Transaction] = []

    async def hang(transaction: Transaction) -> bool:
        tries.append(transaction)
        await transaction.ask(*lock_accounts(asked))
        holds.set()
        await asyncio.to_thread(over.wait)
        await transaction.ask(commit=True)
        return True

    async with opened(postgres_database) as hangs:
        hanging = asyncio.create_task(in_transaction(hangs, hang))
        await asyncio.to_thread(holds.wait)

        claim = granted(await begin(store, begin_request(liquidation_id=HELD)))

        over.set()
        assert await hanging
    assert [each.lost for each in tries] == [True, False]
    assert await store.claim(claim_id=claim.claim_id) == claim
