"""A COMMIT whose outcome is not known: the right answer, once it is, or none at all."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import BeginResult, StoreUnavailableError
from tests.store.awaited import AwaitedStore
from tests.store.claiming import LEASE_S, accept, begin, begin_request, granted, refuse
from tests.store.opened import once_it_answers, opened, proxied, rows
from tests.store.postgres.proxy import Proxy
from tests.store.snapshots import snapshot

# What stands in the message that carries it. On a connection that has seen it more than once before
# it goes by another name; with what is stored of a claim it goes together.
COMMIT = b"COMMIT\x00"
CHANGE = b'"lease_us":'
# What the server says when it waits for the next statement of a transaction.
IN_TRANSACTION = b"Z\x00\x00\x00\x05T"


@pytest.fixture
async def direct(postgres_database: str) -> AsyncIterator[AwaitedStore]:
    """A store whose network is well; it knows the liquidations 1 to 3 of accounts of their own."""
    async with opened(postgres_database) as store:
        await store.put([snapshot(each, account_id=f"account-{each}") for each in (1, 2, 3)])
        yield store


@pytest.fixture
async def way(postgres_database: str) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxied(postgres_database) as way:
        yield way


@pytest.fixture
async def store(way: tuple[Proxy, str], direct: AwaitedStore) -> AsyncIterator[AwaitedStore]:
    """A store on the same database behind the proxy, which is connected."""
    assert direct is not None
    # Over one connection: no other one is made at a time of its own.
    async with opened(way[1], connections=1) as store:
        await store.probe()
        yield store


@pytest.fixture
def proxy(way: tuple[Proxy, str]) -> Proxy:
    return way[0]


async def test_a_claim_that_was_committed_is_told_as_the_one_that_was_granted(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore, postgres_database: str
) -> None:
    old = granted(await begin(direct, begin_request(liquidation_id=1)))
    await rows(postgres_database, "UPDATE claim SET expire_time = clock_timestamp()")
    request = begin_request("r-1", snapshot(9, account_id="account-1"))
    lost = proxy.lose_answer_to(CHANGE)

    begun = await begin(store, request)

    assert lost.is_set()
    claim = granted(begun)
    assert (claim.claim_id, begun.decision_id) == (request.claim_id, request.decision_id)
    assert not begun.known
    assert begun.state is not None
    assert begun.put is not None
    assert (begun.put.opened, begun.put.applied) == (True, True)
    assert [each.claim_id for each in begun.expired] == [old.claim_id]
    assert await direct.claim(request_id="r-1") == claim
    changes = await direct.history(claim.claim_id)
    assert [each.change for each in changes] == ["begin"]
    again = await begin(direct, replace(begin_request("r-1"), terms=request.terms))
    assert again.known
    assert (again.claim, again.decision_id) == (claim, begun.decision_id)
    assert again.decision.total_notional == begun.decision.total_notional


async def test_of_a_group_each_is_told_what_became_of_it(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore
) -> None:
    lost = proxy.lose_answer_to(CHANGE)
    requests = [
        begin_request("granted", liquidation_id=1),
        begin_request("granted", liquidation_id=1),
        begin_request("taken", liquidation_id=1),
        begin_request("refused", liquidation_id=2),
        begin_request("unknown", liquidation_id=99),
        begin_request("brings", snapshot(7, account_id="account-7")),
    ]
    # Those that come while both lanes are busy go together.
    first = [begin_request(liquidation_id=each) for each in (2, 3)]

    outcomes = await asyncio.gather(
        *(store.begin(each, refuse) for each in first),
        *(
            store.begin(each, refuse if each.request_id == "refused" else accept)
            for each in requests
        ),
    )

    assert lost.is_set()
    by_id: dict[str, list[BeginResult]] = {}
    for request, begun in zip(requests, outcomes[2:], strict=True):
        by_id.setdefault(request.request_id, []).append(begun)
    one, other = by_id["granted"]
    assert granted(one).claim_id == granted(other).claim_id
    assert sorted([one.known, other.known]) == [False, True]
    for name in ("taken", "refused", "unknown"):
        assert by_id[name][0].claim is None
        assert not by_id[name][0].known
    (brings,) = by_id["brings"]
    assert granted(brings).request_id == "brings"
    assert not brings.known
    assert brings.put is not None
    assert brings.put.opened
    for name in ("granted", "brings"):
        assert await direct.claim(request_id=name) == by_id[name][0].claim


async def test_a_renewal_counts_from_when_it_was_told(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore
) -> None:
    claim = granted(await begin(store))
    lost = proxy.lose_answer_to(CHANGE)

    renewed = await store.renew(claim.claim_id, claim.fencing_token, 77_000_000)

    assert lost.is_set()
    assert renewed.applied
    assert renewed.claim == await direct.claim(claim_id=claim.claim_id)
    assert renewed.claim is not None
    assert renewed.claim.expire_us > claim.expire_us


@pytest.mark.parametrize("state", [ClaimState.COMPLETED, ClaimState.CANCELLED])
async def test_an_end_that_was_committed_is_told_as_an_end(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore, state: ClaimState
) -> None:
    claim = granted(await begin(store))
    lost = proxy.lose_answer_to(CHANGE)

    ended = await store.end(claim.claim_id, claim.fencing_token, state, "why")

    assert lost.is_set()
    assert ended.claim is not None
    assert (ended.claim.state, ended.claim.end_reason) == (state, "why")
    assert ended.claim == await direct.claim(claim_id=claim.claim_id)
    begun, _ = await direct.history(claim.claim_id)
    assert begun.change == "begin"


async def test_a_put_is_not_answered_and_put_again_it_is_known(
    store: AwaitedStore, proxy: Proxy
) -> None:
    proxy.lose_answer_to(COMMIT)

    with pytest.raises(StoreUnavailableError, match="may have been committed"):
        await store.put([snapshot(8)])

    (again,) = await store.put([snapshot(8)])
    assert (again.applied, again.opened, again.liquidation) == (False, False, snapshot(8))


async def test_a_close_is_not_answered_and_closed_it_is(store: AwaitedStore, proxy: Proxy) -> None:
    proxy.lose_answer_to(COMMIT)

    with pytest.raises(StoreUnavailableError, match="may have been committed"):
        await store.close_liquidation(1)

    assert await store.close_liquidation(1) is None
    assert await store.get(1) is None


async def test_where_the_outcome_stays_unknown_there_is_no_answer_and_the_claim_is_kept(
    way: tuple[Proxy, str], direct: AwaitedStore
) -> None:
    proxy, url = way
    async with opened(url, timeout_s=1.0, connections=1) as store:
        await store.probe()
        lost = proxy.lose_answer_to(CHANGE)
        request = begin_request("r-1")
        beginning = asyncio.create_task(begin(store, request))
        await lost.wait()
        proxy.drop()
        with pytest.raises(StoreUnavailableError):
            await beginning
        proxy.heal()

        again = await once_it_answers(lambda: begin(store, begin_request("r-1")))

    assert again.known
    assert (granted(again).claim_id, again.decision_id) == (request.claim_id, request.decision_id)
    assert granted(again) == await direct.claim(request_id="r-1")


async def test_before_the_commit_is_sent_nothing_is_in_doubt_and_all_is_tried_again(
    store: AwaitedStore, proxy: Proxy
) -> None:
    lost = proxy.lose_answer_to(b"FOR UPDATE", answer=IN_TRANSACTION)
    (put,) = await store.put([snapshot(8)])
    assert lost.is_set()
    assert (put.applied, put.opened) == (True, True)

    lost = proxy.lose_answer_to(b"FOR UPDATE", answer=IN_TRANSACTION)
    closed = await store.close_liquidation(8)
    assert lost.is_set()
    assert closed == snapshot(8)


async def test_a_warning_that_is_not_about_the_commit_is_no_reason_to_doubt_it(
    direct: AwaitedStore, postgres_database: str
) -> None:
    await rows(postgres_database, WARN)
    await rows(
        postgres_database,
        "CREATE TRIGGER warn AFTER INSERT OR UPDATE ON claim FOR EACH ROW EXECUTE FUNCTION warn()",
    )

    claim = granted(await begin(direct))
    ended = await direct.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    assert ended.applied


@pytest.mark.parametrize("default", ["off", "local", "remote_write", "on", "remote_apply"])
async def test_whatever_the_database_says_commits_wait_for_the_disk_and_the_standby(
    postgres_database: str, default: str
) -> None:
    async with opened(postgres_database) as store:
        await store.put([snapshot(1)])
    await rows(postgres_database, "CREATE TABLE seen (setting text)")
    await rows(postgres_database, NOTE)
    await rows(
        postgres_database,
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON claim FOR EACH ROW EXECUTE FUNCTION note()",
    )
    await rows(postgres_database, SET_DEFAULT.format(default=default))

    async with opened(postgres_database) as store:
        claim = granted(await begin(store, begin_request(lease_s=LEASE_S)))
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    kept = "remote_apply" if default == "remote_apply" else "on"
    seen = await rows(postgres_database, "SELECT * FROM seen")
    assert seen == [(kept,), (kept,)]


WARN = """
    CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE WARNING 'a claim changes';
        RETURN NULL;
    END $$
"""
NOTE = """
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
        RETURN NULL;
    END $$
"""
SET_DEFAULT = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}', current_database());
    END $$
"""
