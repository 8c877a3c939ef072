"""What failed or was not answered on PostgreSQL: the right answer once it is known, or none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import BeginResult, StateQuery, StoreError, StoreUnavailableError
from tests.store.builders import (
    accept,
    accept_all,
    begin,
    begin_request,
    claimed,
    granted,
    of_account,
    refuse,
    snapshot,
)
from tests.store.postgres.proxy import Proxy
from tests.store.stores import (
    NOWHERE,
    AwaitedStore,
    busy,
    once_it_answers,
    postgres_store,
    proxied,
    rows,
    together,
)

# What is in the packet that is sent with it. A prepared COMMIT has another name; what is stored of
# a claim goes in the same packet.
COMMIT = b"COMMIT\x00"
CHANGE = b'"lease_us":'
# What the server says when it waits for the next statement of a transaction.
IN_TRANSACTION = b"Z\x00\x00\x00\x05T"


async def trigger(dsn: str, body: str, table: str = "claim") -> None:
    """Lets the server do something of its own after each row of a table is written."""
    await rows(
        dsn,
        "CREATE FUNCTION testing.own() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body}; RETURN NULL; END $$",
    )
    await rows(
        dsn,
        f"CREATE TRIGGER own AFTER INSERT OR UPDATE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION testing.own()",
    )


@pytest.fixture
async def way(database: str) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxied(database) as way:
        yield way


@pytest.fixture
def proxy(way: tuple[Proxy, str]) -> Proxy:
    return way[0]


@pytest.fixture
async def store(way: tuple[Proxy, str], direct: AwaitedStore) -> AsyncIterator[AwaitedStore]:
    """A store behind the proxy, on the database of `direct`, which is connected."""
    assert direct is not None
    # Over one connection: no other one is made at a time of its own.
    async with postgres_store(way[1], connections=1) as store:
        await once_it_answers(store.probe)
        yield store


# The answer to a COMMIT is lost.


async def test_a_claim_that_was_committed_is_told_as_the_one_that_was_granted(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore, database: str
) -> None:
    old = await claimed(direct, 1)
    await rows(database, "UPDATE claim SET expire_time = clock_timestamp()")
    request = begin_request("r-1", snapshot(9))
    lost = proxy.lose_answer_to(CHANGE)

    begun = await begin(store, request)

    assert lost.is_set()
    claim = granted(begun)
    assert (claim.claim_id, begun.decision_id) == (request.claim_id, request.decision_id)
    assert (begun.known, [each.claim_id for each in begun.expired]) == (False, [old.claim_id])
    assert begun.put is not None
    assert (begun.put.opened, begun.put.applied) == (True, True)
    assert await direct.claim(request_id="r-1") == claim
    assert [each.change for each in await direct.history(claim.claim_id)] == ["begin"]
    again = await begin(direct, replace(begin_request("r-1"), terms=request.terms))
    assert (again.known, again.claim, again.decision_id) == (True, claim, begun.decision_id)


async def test_of_a_group_each_is_told_what_became_of_it(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore
) -> None:
    requests = [
        begin_request("granted", liquidation_id=1),
        begin_request("granted", liquidation_id=1),
        begin_request("taken", liquidation_id=1),
        begin_request("refused", liquidation_id=2),
        begin_request("brings", of_account(7)),
    ]
    lost = proxy.lose_answer_to(CHANGE)

    outcomes = await together(
        store,
        *(begin(store, each, refuse if each is requests[3] else accept) for each in requests),
    )

    assert lost.is_set()
    one, other, taken, refused, brings = [
        each for each in outcomes if isinstance(each, BeginResult)
    ]
    assert granted(one).claim_id == granted(other).claim_id
    assert sorted([one.known, other.known]) == [False, True]
    assert [(each.claim, each.known) for each in (taken, refused)] == [(None, False)] * 2
    assert brings.put is not None
    assert (granted(brings).request_id, brings.known, brings.put.opened) == ("brings", False, True)
    assert await direct.claim(request_id="granted") == one.claim
    assert await direct.claim(request_id="brings") == brings.claim


@pytest.mark.parametrize("kind", ["renew", "complete", "cancel"])
async def test_a_change_that_was_committed_is_told_as_it_stands(
    store: AwaitedStore, proxy: Proxy, direct: AwaitedStore, kind: str
) -> None:
    claim = await claimed(store)
    lost = proxy.lose_answer_to(CHANGE)

    if kind == "renew":
        changed = await store.renew(claim.claim_id, claim.fencing_token, 77_000_000)
        assert changed.applied
        state = ClaimState.ACTIVE
    else:
        state = ClaimState.COMPLETED if kind == "complete" else ClaimState.CANCELLED
        changed = await store.end(claim.claim_id, claim.fencing_token, state, "why")

    assert lost.is_set()
    assert changed.claim is not None
    assert (changed.claim.state, changed.claim.expire_us > claim.expire_us) == (
        state,
        kind == "renew",
    )
    assert changed.claim == await direct.claim(claim_id=claim.claim_id)


async def test_a_put_or_a_close_is_not_answered_and_is_found_done(
    store: AwaitedStore, proxy: Proxy
) -> None:
    proxy.lose_answer_to(COMMIT)
    with pytest.raises(StoreUnavailableError, match=r"; it may have been committed$"):
        await store.put([snapshot(8)])
    (again,) = await store.put([snapshot(8)])
    assert (again.applied, again.opened, again.liquidation) == (False, False, snapshot(8))

    proxy.lose_answer_to(COMMIT)
    with pytest.raises(StoreUnavailableError, match=r"; it may have been committed$"):
        await store.close_liquidation(1)
    assert await store.close_liquidation(1) is None


async def test_if_the_outcome_stays_unknown_there_is_no_answer_and_the_claim_is_kept(
    way: tuple[Proxy, str], direct: AwaitedStore
) -> None:
    proxy, url = way
    async with postgres_store(url, timeout_s=0.5, connections=1) as store:
        await once_it_answers(store.probe)
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


async def test_before_a_commit_is_sent_nothing_is_in_doubt_and_all_is_tried_again(
    store: AwaitedStore, proxy: Proxy
) -> None:
    lost = proxy.lose_answer_to(b"FOR UPDATE", answer=IN_TRANSACTION)
    (put,) = await store.put([snapshot(8)])
    assert (lost.is_set(), put.applied, put.opened) == (True, True, True)

    lost = proxy.lose_answer_to(b"FOR UPDATE", answer=IN_TRANSACTION)
    assert await store.close_liquidation(8) == snapshot(8)
    assert lost.is_set()


# What the server refuses.


async def fail(dsn: str, table: str, code: str, times: int) -> None:
    """The next `times` changes of a row fail with an error; a sequence counts them for good."""
    await rows(dsn, "CREATE SEQUENCE testing.failures")
    await trigger(
        dsn,
        f"IF nextval('testing.failures') <= {times} THEN"
        f" RAISE EXCEPTION 'again' USING ERRCODE = '{code}', DETAIL = 'S3cret'; END IF",
        table,
    )


@pytest.mark.parametrize("code", ["40001", "40P01"], ids=["serialization", "deadlock"])
@pytest.mark.parametrize("kind", ["begin", "put", "close", "renew", "end", "expire"])
async def test_what_the_server_asks_to_try_again_is_done_once(
    direct: AwaitedStore, database: str, code: str, kind: str
) -> None:
    claim = await claimed(direct, 1)
    key = claim.claim_id, claim.fencing_token
    if kind == "expire":
        await rows(database, "UPDATE claim SET expire_time = now()")
    await fail(database, "liquidation" if kind in ("put", "close") else "claim", code, times=2)

    async def write() -> object:
        match kind:
            case "begin":
                outcomes = await asyncio.gather(
                    *(
                        begin(direct, begin_request(liquidation_id=each % 4 + 2))
                        for each in range(8)
                    )
                )
                return sorted(each.claim.account_id for each in outcomes if each.claim)
            case "put":
                return [(each.applied, each.opened) for each in await direct.put([snapshot(7)])]
            case "close":
                return await direct.close_liquidation(2)
            case "renew":
                return (await direct.renew(*key, 60_000_000)).applied
            case "end":
                return (await direct.end(*key, ClaimState.COMPLETED)).applied
            case _:
                return [each.claim_id for each in await direct.expire()]

    assert (
        await write()
        == {
            "begin": [f"account-{each}" for each in (2, 3, 4, 5)],
            "put": [(True, True)],
            "close": of_account(2),
            "renew": True,
            "end": True,
            "expire": [claim.claim_id],
        }[kind]
    )
    changes = [each.change for each in await direct.history(claim.claim_id)]
    done = {"renew": ["renew"], "end": ["complete"], "expire": ["expire"]}
    assert changes == ["begin", *done.get(kind, [])]
    ((claims,),) = await rows(database, "SELECT count(*) FROM claim")
    assert claims == (5 if kind == "begin" else 1)


@pytest.mark.parametrize("code", ["40001", "22012"], ids=["to be tried again", "for good"])
async def test_what_the_server_refuses_is_told_without_details_and_has_not_happened(
    direct: AwaitedStore, database: str, code: str
) -> None:
    """The details of an error hold values."""
    await fail(database, "claim", code, times=1_000_000)

    async with postgres_store(database, timeout_s=0.5) as store:
        with pytest.raises(StoreUnavailableError) as refused:
            await begin(store, begin_request("r-1", of_account(1, 2)))
        assert "S3cret" not in str(refused.value)
        assert code == "40001" or str(refused.value) == "again (22012)"

    assert await direct.claim(request_id="r-1") is None
    assert await direct.get(1) == of_account(1)
    ((tries,),) = await rows(database, "SELECT last_value FROM testing.failures")
    assert (tries > 1) is (code == "40001")


async def test_a_warning_of_a_trigger_is_no_reason_to_doubt_a_commit(
    direct: AwaitedStore, database: str
) -> None:
    await trigger(database, "RAISE WARNING 'a claim changes'")

    claim = await claimed(direct)

    assert (await direct.end(claim.claim_id, None, ClaimState.COMPLETED)).applied


@pytest.mark.parametrize("default", ["off", "local", "remote_write", "on", "remote_apply"])
async def test_whatever_the_database_says_a_transaction_is_durable_and_bounded(
    direct: AwaitedStore, database: str, default: str
) -> None:
    names = (
        "synchronous_commit",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "enable_seqscan",
    )
    current = ", ".join(f"current_setting('{name}')" for name in names)
    await rows(database, "CREATE TABLE testing.seen (settings text[])")
    await trigger(database, f"INSERT INTO testing.seen VALUES (ARRAY[{current}])")
    await rows(
        database,
        f"""
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}',
                                   current_database()); END $$
        """,
    )

    async with postgres_store(database, timeout_s=10) as store:
        claim = await claimed(store)
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED)

    kept = "remote_apply" if default == "remote_apply" else "on"
    # A client that hangs loses its locks before those who wait for them give up.
    bounds = [kept, "9500ms", "1900ms", "3800ms", "off"]
    assert await rows(database, "SELECT * FROM testing.seen") == [(bounds,), (bounds,)]
    assert direct is not None


# A server that does not answer.


async def test_every_call_ends_in_its_time_if_the_server_does_not_answer(
    way: tuple[Proxy, str], direct: AwaitedStore
) -> None:
    claim = await claimed(direct)
    key = claim.claim_id, claim.fencing_token
    proxy, url = way
    async with postgres_store(url, timeout_s=0.4) as store:
        await once_it_answers(store.probe)
        proxy.drop()
        calls: list[Awaitable[Any]] = [
            store.states([StateQuery(1, "nobody")]),
            store.put([of_account(2, 2)]),
            store.get(1),
            store.page("", 0, 1),
            store.close_liquidation(3),
            begin(store, begin_request(liquidation_id=4), accept_all),
            store.renew(*key, 60_000_000),
            store.end(*key, ClaimState.COMPLETED),
            store.claim(claim_id="none"),
            store.claims(),
            store.count_active(),
            store.expire(),
            store.purge(),
            store.probe(),
        ]
        async with asyncio.timeout(20):
            for told in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(told, StoreUnavailableError)
        proxy.heal()
        await once_it_answers(store.probe)


async def test_why_there_is_no_connection_is_told(way: tuple[Proxy, str]) -> None:
    async with postgres_store(NOWHERE, timeout_s=0.2) as store:
        assert store.store.states([StateQuery(1, "nobody")]) is None
        with pytest.raises(StoreUnavailableError) as refused:
            await store.probe()
    assert str(refused.value) == (
        "no connection within 0.19 s: connection failed: connection to server at"
        ' "127.0.0.1", port 1 failed: Connection refused'
    )

    proxy, url = way
    proxy.drop()
    async with postgres_store(url, timeout_s=0.2) as store:
        with pytest.raises(StoreUnavailableError, match=r"s: it has not answered yet$"):
            await store.probe()

    with pytest.raises(StoreError, match=r"^the URL of the PostgreSQL [a-z ]+$"):
        postgres_store("postgresql://u:S3cret@[nowhere")


# What goes together.


async def test_writes_that_come_together_share_commits_of_a_bounded_size(
    direct: AwaitedStore, database: str
) -> None:
    commits: list[tuple[int, float]] = []
    async with postgres_store(
        database, timeout_s=20, committed=lambda *told: commits.append(told)
    ) as store:
        await once_it_answers(store.probe)
        await together(store, *(store.put([of_account(each)]) for each in range(10, 310)))
        assert sorted(size for size, _ in commits) == [44, 128, 128]
        assert all(took_s >= 0 for _, took_s in commits)
        commits.clear()
        outcomes = await together(
            store, *(begin(store, begin_request(liquidation_id=each)) for each in (1, 2, 3))
        )
        claims = [granted(each) for each in outcomes if isinstance(each, BeginResult)]
        await together(
            store, *(store.end(each.claim_id, None, ClaimState.CANCELLED) for each in claims)
        )
        await store.expire()

    assert [size for size, _ in commits] == [3, 3, 1]
    assert direct is not None


async def test_closing_answers_what_was_asked_before(direct: AwaitedStore, database: str) -> None:
    store = postgres_store(database, timeout_s=20)
    await once_it_answers(store.probe)
    async with busy(store):
        calls = [asyncio.create_task(store.put([of_account(each)])) for each in range(6, 14)]
        await asyncio.sleep(0)  # each asks now
        closing = asyncio.create_task(store.aclose())
    await closing

    assert all(put.opened for (put,) in await asyncio.gather(*calls))
    assert direct is not None
