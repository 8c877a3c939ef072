"""Rows of PostgreSQL under the hands of many: whose locks are waited for, and whose are passed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest

from liquidation.rules.model import Claim, ClaimState, Liquidation
from liquidation.store.base import AccountMismatchError, StateQuery
from liquidation.store.postgres.liquidations import put_all
from liquidation.store.postgres.states import about, microseconds, states_of_all
from tests.store.awaited import AwaitedStore
from tests.store.claiming import begin, begin_request, granted
from tests.store.opened import in_transaction, opened, rows, until_blocked
from tests.store.snapshots import snapshot

RUN_OUT = "UPDATE claim SET expire_time = clock_timestamp() WHERE claim_id = %s"


def account(number: int) -> Liquidation:
    """The liquidation of that number, each of an account of its own."""
    return snapshot(number, account_id=f"account-{number}")


@pytest.fixture
async def store(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    """A store that knows the liquidations 1 to 5, and gives up soon where it waits in vain."""
    async with opened(postgres_database, timeout_s=2) as store:
        await store.put([account(each) for each in range(1, 6)])
        yield store


@asynccontextmanager
async def held(dsn: str, statement: str, *parameters: object) -> AsyncIterator[None]:
    """Another session holds the rows that a statement finds."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(f"{statement} FOR UPDATE", parameters)
        yield
        await connection.rollback()


async def claimed(store: AwaitedStore, number: int) -> Claim:
    return granted(await begin(store, begin_request(liquidation_id=number)))


@pytest.mark.parametrize("kind", ["renew", "end"])
async def test_a_change_waits_for_the_account_of_its_claim(
    store: AwaitedStore, postgres_database: str, kind: str
) -> None:
    claim = await claimed(store, 1)
    key = claim.claim_id, claim.fencing_token

    async with held(postgres_database, "SELECT FROM account WHERE account_id = 'account-1'"):
        changing = asyncio.ensure_future(
            store.renew(*key, 60_000_000)
            if kind == "renew"
            else store.end(*key, ClaimState.CANCELLED, "")
        )
        await until_blocked(postgres_database, changing)

    assert (await changing).applied


async def test_a_change_waits_for_no_other_account(
    store: AwaitedStore, postgres_database: str
) -> None:
    claim = await claimed(store, 1)
    await claimed(store, 2)

    async with held(postgres_database, "SELECT FROM account WHERE account_id <> 'account-1'"):
        ended = await store.end(claim.claim_id, None, ClaimState.COMPLETED, "")

    assert ended.applied


async def test_leases_that_ran_out_are_left_to_those_who_hold_their_claims(
    store: AwaitedStore, postgres_database: str
) -> None:
    claims = [await claimed(store, each) for each in (1, 2)]
    for each in claims:
        await rows(postgres_database, RUN_OUT, each.claim_id)
    theirs, ours = (each.claim_id for each in claims)

    async with held(postgres_database, "SELECT FROM claim WHERE claim_id = %s", theirs):
        assert [each.claim_id for each in await store.expire(1)] == [ours]

    assert [each.claim_id for each in await store.expire(1)] == [theirs]


async def test_claims_that_others_hold_are_not_purged(
    store: AwaitedStore, postgres_database: str
) -> None:
    claims = [await claimed(store, each) for each in (1, 2)]
    for each in claims:
        await store.end(each.claim_id, None, ClaimState.CANCELLED, "")
    theirs, ours = (each.claim_id for each in claims)

    async with held(postgres_database, "SELECT FROM claim WHERE claim_id = %s", theirs):
        assert await store.purge(0, 1) == 1
        assert await store.claim(claim_id=ours) is None

    assert await store.claim(claim_id=theirs) is not None
    assert await store.purge(0, 1) == 1


async def test_a_lease_that_ran_out_is_found_behind_claims_that_run_or_have_ended(
    store: AwaitedStore, postgres_database: str
) -> None:
    ended, *_, last = [await claimed(store, each) for each in range(1, 6)]
    await store.end(ended.claim_id, None, ClaimState.CANCELLED, "")
    for each in (ended, last):
        await rows(postgres_database, RUN_OUT, each.claim_id)

    assert [each.claim_id for each in await store.expire(1)] == [last.claim_id]
    assert await store.expire(1) == ()


async def test_looking_for_leases_writes_also_where_none_ran_out(
    store: AwaitedStore, postgres_database: str
) -> None:
    """It is what finds out whether writes are taken; who locks a row is written down in it."""
    lockers = "SELECT max(xmax::text::bigint) FROM account"
    before = await rows(postgres_database, lockers)

    assert await store.expire(10) == ()

    assert await rows(postgres_database, lockers) > before


async def test_looking_for_leases_waits_for_no_account(
    store: AwaitedStore, postgres_database: str
) -> None:
    async with held(postgres_database, "SELECT FROM account"):
        assert await store.expire(10) == ()


async def test_of_calls_that_go_together_each_gets_its_own_states(store: AwaitedStore) -> None:
    calls = [[StateQuery(each, "nobody") for each in call] for call in ((1,), (2, 3), (), (4,))]

    found = await in_transaction(store, lambda transaction: states_of_all(transaction, calls))

    assert [
        [each.liquidation and each.liquidation.liquidation_id for each in call] for call in found
    ] == [[1], [2, 3], [], [4]]


async def test_of_calls_that_go_together_each_is_refused_for_what_stays_stored_alone(
    store: AwaitedStore,
) -> None:
    """What another of them had stored is taken back with that one, and is in nobody's way."""
    stranger = snapshot(1, 2, account_id="another")
    calls = [
        [account(7), stranger],
        [snapshot(7, account_id="account-8"), account(9)],
        [account(10), account(7)],
        [account(11), stranger],
        [account(12)],
    ]

    first, second, third, fourth, fifth = await in_transaction(
        store, lambda transaction: put_all(transaction, calls)
    )

    refused = [each for each in (first, third, fourth) if isinstance(each, AccountMismatchError)]
    assert [each.index for each in refused] == [1, 1, 1]
    assert not isinstance(second, Exception)
    assert [each.opened for each in second] == [True, True]
    assert not isinstance(fifth, Exception)
    assert [each.opened for each in fifth] == [True]
    stored = await store.page("", 5, 10)
    assert stored.liquidations == [calls[1][0], account(9), account(12)]


async def test_who_met_only_what_is_taken_back_is_tried_again(store: AwaitedStore) -> None:
    calls = [
        [account(7)],
        [account(9), snapshot(7, account_id="account-8")],
        [snapshot(9, account_id="account-10")],
    ]

    first, second, third = await in_transaction(
        store, lambda transaction: put_all(transaction, calls)
    )

    assert not isinstance(first, Exception)
    assert isinstance(second, AccountMismatchError)
    assert not isinstance(third, Exception)
    assert (await store.page("", 5, 10)).liquidations == [account(7), calls[2][0]]


def test_what_is_asked_about_is_numbered_in_its_order() -> None:
    asked = about([StateQuery(7, "l-1"), StateQuery(8, "l-2", "account-8")], ["r-1", "r-2"])

    def row(n: int, *rest: Any) -> dict[str, Any]:
        names = ("liquidation_id", "liquidator_id", "account_id", "request_id")
        return {"n": n, **dict(zip(names, rest, strict=True))}

    assert orjson.loads(asked["asked"]) == [
        row(0, 7, "l-1", None, "r-1"),
        row(1, 8, "l-2", "account-8", "r-2"),
    ]


def test_a_time_is_told_to_the_microsecond_as_long_as_there_are_years() -> None:
    assert microseconds(datetime.max.replace(tzinfo=UTC)) == 253_402_300_799_999_999
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
