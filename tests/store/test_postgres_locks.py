"""Accounts and rows that others hold: what waits for them, and what must not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from liquidation.rules.model import ClaimState, StoredState
from liquidation.store.base import (
    AccountMismatchError,
    BeginResult,
    StateQuery,
    StoreUnavailableError,
)
from tests.store.builders import (
    Noting,
    accept_all,
    begin,
    begin_request,
    claimed,
    granted,
    of_account,
    refuse,
    snapshot,
)
from tests.store.stores import (
    AwaitedStore,
    busy,
    held,
    postgres_store,
    rows,
    together,
    until_blocked,
)

HELD = 1
ACCOUNT = f"SELECT FROM account WHERE account_id = 'account-{HELD}' FOR UPDATE"
RUN_OUT = "UPDATE claim SET expire_time = clock_timestamp()"


async def begun_or_not(store: AwaitedStore, number: int) -> BeginResult | None:
    try:
        return await begin(store, begin_request(liquidation_id=number))
    except StoreUnavailableError:
        return None


async def test_an_account_that_is_held_keeps_no_other_of_its_group_waiting(
    direct: AwaitedStore, database: str
) -> None:
    async with held(database, ACCOUNT):
        async with busy(direct):
            waits, *others = [
                asyncio.create_task(begun_or_not(direct, each)) for each in range(1, 6)
            ]
            await asyncio.sleep(0)  # each asks now
        begun = await asyncio.gather(*others)

    assert all(each is not None and each.claim is not None for each in begun)
    await waits


async def test_what_waits_for_an_account_keeps_nobody_waiting_who_comes_later(
    direct: AwaitedStore, database: str
) -> None:
    async with held(database, ACCOUNT):
        waiting = [asyncio.create_task(begun_or_not(direct, HELD)) for _ in range(3)]
        await until_blocked(database, waiting[0])
        for number in (2, 3, 4, 5):
            assert await claimed(direct, number)

    await asyncio.gather(*waiting)


@pytest.mark.parametrize("kind", ["put", "close", "renew", "end"])
async def test_a_write_on_an_account_that_is_held_too_long_never_happens(
    direct: AwaitedStore, database: str, kind: str
) -> None:
    claim = await claimed(direct, HELD)
    # The account is given free once nothing of `hasty` is under way any more.
    async with held(database, ACCOUNT), postgres_store(database, timeout_s=0.5) as hasty:
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: hasty.put([of_account(HELD, 2)]),
            "close": lambda: hasty.close_liquidation(HELD),
            "renew": lambda: hasty.renew(claim.claim_id, claim.fencing_token, 99_000_000),
            "end": lambda: hasty.end(claim.claim_id, None, ClaimState.CANCELLED),
        }
        with pytest.raises(StoreUnavailableError):
            await writes[kind]()

    assert await direct.get(HELD) == of_account(HELD)
    assert await direct.claim(claim_id=claim.claim_id) == claim


@pytest.mark.parametrize("kind", ["renew", "end"])
async def test_a_change_waits_for_the_account_of_its_claim(
    direct: AwaitedStore, database: str, kind: str
) -> None:
    claim = await claimed(direct, HELD)
    key = claim.claim_id, claim.fencing_token

    async with held(database, ACCOUNT):
        changing = asyncio.create_task(
            direct.renew(*key, 60_000_000)
            if kind == "renew"
            else direct.end(*key, ClaimState.CANCELLED)
        )
        await until_blocked(database, changing)

    assert (await changing).applied


async def test_reads_changes_and_the_reaper_wait_for_no_other_account(
    direct: AwaitedStore, database: str
) -> None:
    claim = await claimed(direct, 2)
    await claimed(direct, HELD)

    async with held(database, "SELECT FROM account WHERE account_id <> 'account-2' FOR UPDATE"):
        (state,) = await direct.states([StateQuery(HELD, "nobody")])
        assert await direct.expire() == ()
        ended = await direct.end(claim.claim_id, None, ClaimState.COMPLETED)

    assert state.liquidation is not None
    assert ended.applied


async def test_claims_that_others_hold_are_neither_expired_nor_purged(
    direct: AwaitedStore, database: str
) -> None:
    theirs, ours = [(await claimed(direct, each)).claim_id for each in (1, 2)]
    await rows(database, RUN_OUT)

    async with held(database, f"SELECT FROM claim WHERE claim_id = '{theirs}' FOR UPDATE"):
        assert [each.claim_id for each in await direct.expire(2)] == [ours]
    assert [each.claim_id for each in await direct.expire(2)] == [theirs]

    async with held(database, f"SELECT FROM claim WHERE claim_id = '{theirs}' FOR UPDATE"):
        assert await direct.purge(0, 2) == 1
        assert await direct.claim(claim_id=ours) is None
    assert await direct.claim(claim_id=theirs) is not None
    assert await direct.purge(0, 2) == 1


async def test_crossing_requests_never_deadlock(direct: AwaitedStore, database: str) -> None:
    """Two sidecars get the same request_ids at once, in another order and on other accounts."""
    ids = [f"r-{each}" for each in range(8)]
    await direct.put([of_account(each) for each in range(1, 21)])
    counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await rows(database, counted)
    await rows(
        database,
        """
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10ms''', current_database());
        END $$
        """,
    )
    await rows(
        database,
        """
        CREATE FUNCTION testing.slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$
        """,
    )
    await rows(
        database,
        """
        CREATE TRIGGER slow BEFORE INSERT ON claim FOR EACH ROW EXECUTE FUNCTION testing.slow()
        """,
    )
    async with postgres_store(database) as one, postgres_store(database) as other:
        outcomes = await asyncio.gather(
            *(
                begin(store, begin_request(request_id, liquidation_id=account), accept_all)
                for store, first, order in ((one, 1, ids), (other, 11, ids[::-1]))
                for account, request_id in enumerate(order, start=first)
            )
        )

    assert len({granted(each).claim_id for each in outcomes}) == len(ids)
    assert await rows(database, counted) == before


# What comes between a look and a write, or in the same group.


async def test_a_liquidation_that_came_after_the_locks_is_not_known_yet(
    direct: AwaitedStore, database: str
) -> None:
    """Its account is locked by nobody: a claim on it could be granted beside another's."""
    look = Noting(lambda state: accept_all(state) if state.liquidation else refuse(state))

    # When claims are looked at, accounts are locked already.
    async with held(database, "LOCK TABLE claim"):
        beginning = asyncio.create_task(begin(direct, begin_request(liquidation_id=7), look))
        await until_blocked(database, beginning)
        await rows(
            database,
            """
            INSERT INTO liquidation SELECT 7, 'account-7', revision, snapshot, open_time
            FROM liquidation LIMIT 1
            """,
        )

    assert (await beginning).claim is None
    assert look.seen == [StoredState()]


async def test_a_liquidation_that_another_account_got_meanwhile_is_seen_as_that_account_s(
    direct: AwaitedStore, database: str
) -> None:
    look = Noting()

    async with held(database, "LOCK TABLE claim"):
        request = begin_request(snapshot=snapshot(7, account_id="account-1"))
        beginning = asyncio.create_task(begin(direct, request, look))
        await until_blocked(database, beginning)
        await rows(
            database,
            """
            INSERT INTO liquidation SELECT 7, 'account-2', revision, snapshot, open_time
            FROM liquidation WHERE liquidation_id = 2
            """,
        )

    assert (await beginning).put is None
    assert look.seen
    assert all(
        each.liquidation and each.liquidation.account_id == "account-2" for each in look.seen
    )


async def test_an_expired_lease_is_told_to_the_request_whose_account_it_was_on(
    direct: AwaitedStore, database: str
) -> None:
    first, second, third = [(await claimed(direct, each)).claim_id for each in (1, 2, 3)]
    await rows(database, RUN_OUT)
    requests = [
        begin_request("r-1", liquidation_id=1),
        begin_request("r-1", liquidation_id=2),
        begin_request(snapshot=snapshot(3, 2, account_id="account-4")),  # stored for account-3
        begin_request(liquidation_id=5),
    ]

    outcomes = await together(direct, *(begin(direct, each, accept_all) for each in requests))

    begun = [each for each in outcomes if isinstance(each, BeginResult)]
    assert [[claim.claim_id for claim in each.expired] for each in begun[:2]] == [[first], [second]]
    assert [claim.claim_id for each in begun[2:] for claim in each.expired] == [third]
    # A request that came twice is one claim, whatever accounts it names.
    assert granted(begun[0]).claim_id == granted(begun[1]).claim_id
    assert sorted([begun[0].known, begun[1].known]) == [False, True]
    assert await direct.expire() == ()


async def test_what_a_group_brings_is_told_once(direct: AwaitedStore) -> None:
    brought = [
        of_account(3, 2) if number == 3 else snapshot(number, 2) for number in (1, 3, 1, 3, 9, 9)
    ]

    outcomes = await together(
        direct, *(begin(direct, begin_request(snapshot=each)) for each in brought)
    )

    begun = [each for each in outcomes if isinstance(each, BeginResult)]
    opened = [each.put.liquidation.liquidation_id for each in begun if each.put and each.put.opened]
    accounts = sorted(each.claim.account_id for each in begun if each.claim)
    assert (len(begun), opened, accounts) == (6, [9], ["account-1", "account-3"])


async def test_a_call_is_refused_only_for_what_stays_stored(direct: AwaitedStore) -> None:
    """What a call that is refused had stored is taken back with it, and is in nobody's way."""
    stranger = snapshot(1, 2, account_id="another")
    calls = [
        [of_account(7), stranger],
        [snapshot(7, account_id="account-8"), of_account(9)],
        [of_account(10), of_account(7)],
        [of_account(11), stranger],
        [of_account(12)],
        [snapshot(10, account_id="account-8")],
    ]

    outcomes = await together(direct, *map(direct.put, calls))

    assert [
        [put.opened for put in each] if isinstance(each, list) else _index(each)
        for each in outcomes
    ] == [1, [True, True], 1, 1, [True], [True]]
    stored = await direct.page("", 5, 10)
    assert stored.liquidations == [calls[1][0], of_account(9), calls[5][0], of_account(12)]


def _index(error: BaseException) -> int:
    assert isinstance(error, AccountMismatchError)
    return error.index
