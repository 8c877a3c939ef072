"""What the server asks to be tried again is: the answer is right, and nothing is done twice."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import BeginResult, StoreUnavailableError
from tests.store.awaited import AwaitedStore
from tests.store.claiming import accept_all, begin, begin_request, granted
from tests.store.opened import opened, rows
from tests.store.snapshots import snapshot

SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"

# What a sequence counts stays counted when the transaction is rolled back.
FAIL = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('public.failures') <= {times} THEN
            RAISE EXCEPTION 'again' USING ERRCODE = '{code}';
        END IF;
        RETURN NULL;
    END $$
"""
ON = "CREATE TRIGGER fail AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"


async def fail(dsn: str, table: str, code: str, times: int = 2) -> None:
    """The next `times` changes of a row of `table` fail with an error of the server."""
    await rows(dsn, "CREATE SEQUENCE failures")
    await rows(dsn, FAIL.format(code=code, times=times))
    await rows(dsn, ON.format(table=table))


async def failures(dsn: str) -> int:
    ((last,),) = await rows(dsn, "SELECT last_value FROM failures")
    return int(last)


both = pytest.mark.parametrize("code", [SERIALIZATION_FAILURE, DEADLOCK_DETECTED])


@both
async def test_a_claim_is_granted_once(postgres_database: str, code: str) -> None:
    async with opened(postgres_database) as store:
        await store.put([snapshot(1)])
        await fail(postgres_database, "claim", code)

        begun = await begin(store, begin_request("r-1", snapshot(1, 2)))

        claim = granted(begun)
        assert not begun.known
        assert begun.put is not None
        assert (begun.put.applied, begun.put.opened) == (True, False)
        assert await failures(postgres_database) == 3
        found = await rows(postgres_database, "SELECT claim_id FROM claim")
        assert found == [(claim.claim_id,)]
        assert [each.change for each in await store.history(claim.claim_id)] == ["begin"]


@both
async def test_many_claims_of_one_group_are_each_granted_once(
    postgres_database: str, code: str
) -> None:
    async with opened(postgres_database) as store:
        await store.put([snapshot(each, account_id=f"account-{each}") for each in range(1, 33)])
        await fail(postgres_database, "claim", code)

        outcomes = await asyncio.gather(
            *(begin(store, begin_request(liquidation_id=each % 32 + 1)) for each in range(64))
        )

        claims = [each.claim for each in outcomes if each.claim is not None]
        assert len({each.account_id for each in claims}) == len(claims) == 32
        ((count,),) = await rows(postgres_database, "SELECT count(*) FROM claim")
        assert count == 32


@both
@pytest.mark.parametrize("kind", ["put", "close", "renew", "end", "expire"])
async def test_every_other_write_is_done_once(postgres_database: str, code: str, kind: str) -> None:
    async with opened(postgres_database) as store:
        await store.put([snapshot(1), snapshot(2, account_id="account-2")])
        claim = granted(await begin(store))
        if kind == "expire":
            await rows(postgres_database, "UPDATE claim SET expire_time = now()")
        table = "liquidation" if kind in ("put", "close") else "claim"
        await fail(postgres_database, table, code)

        told = await _written(store, kind, claim.claim_id, claim.fencing_token)

        assert (
            told
            == {
                "put": [(True, True)],
                "close": 2,
                "renew": True,
                "end": True,
                "expire": [claim.claim_id],
            }[kind]
        )
        assert await failures(postgres_database) == 3
        if table == "claim":
            history = [each.change for each in await store.history(claim.claim_id)]
            assert history == ["begin", {"end": "complete"}.get(kind, kind)]


async def _written(store: AwaitedStore, kind: str, claim_id: str, token: int) -> object:
    """What a caller is told of one write."""

    async def put() -> object:
        return [(each.applied, each.opened) for each in await store.put([snapshot(7)])]

    async def close() -> object:
        closed = await store.close_liquidation(2)
        return closed and closed.liquidation_id

    async def renew() -> object:
        return (await store.renew(claim_id, token, 60_000_000)).applied

    async def end() -> object:
        return (await store.end(claim_id, token, ClaimState.COMPLETED, "")).applied

    async def expire() -> object:
        return [each.claim_id for each in await store.expire(10)]

    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "put": put,
        "close": close,
        "renew": renew,
        "end": end,
        "expire": expire,
    }
    return await writes[kind]()


@both
async def test_what_fails_again_and_again_is_refused_in_time_and_has_not_happened(
    postgres_database: str, code: str
) -> None:
    async with opened(postgres_database) as patient:
        await patient.put([snapshot(1)])
        await fail(postgres_database, "claim", code, times=1_000_000)
        async with asyncio.timeout(20), opened(postgres_database, timeout_s=0.5) as store:
            with pytest.raises(StoreUnavailableError):
                await begin(store, begin_request("r-1", snapshot(1, 2)))

        assert await patient.claim(request_id="r-1") is None
        assert await patient.get(1) == snapshot(1)


DETECT_AT_ONCE = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10ms''', current_database());
    END $$
"""
SLOW = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(0.02);
        RETURN NEW;
    END $$
"""


async def test_requests_that_cross_each_other_never_lock_each_other_out(
    postgres_database: str,
) -> None:
    """Two sidecars get the same request_ids at once, in another order and on other accounts."""
    ids = [f"r-{each}" for each in range(8)]
    await rows(postgres_database, DETECT_AT_ONCE)
    async with opened(postgres_database) as one, opened(postgres_database) as other:
        await one.put([snapshot(each, account_id=f"account-{each}") for each in range(1, 21)])
        await rows(postgres_database, SLOW)
        await rows(
            postgres_database,
            "CREATE TRIGGER dawdle BEFORE INSERT ON claim FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )

        outcomes = await asyncio.gather(
            *_begun(one, ids, first_account=1), *_begun(other, ids[::-1], first_account=11)
        )

    claims = {granted(each).claim_id for each in outcomes}
    assert len(claims) == len(ids)
    ((deadlocks,),) = await rows(
        postgres_database,
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    assert deadlocks == 0


def _begun(
    store: AwaitedStore, request_ids: Sequence[str], first_account: int
) -> list[Awaitable[BeginResult]]:
    return [
        begin(store, begin_request(request_id, liquidation_id=account), accept_all)
        for account, request_id in enumerate(request_ids, start=first_account)
    ]
