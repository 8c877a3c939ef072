"""What every store promises about a claim that was granted: fenced, leased, kept and forgotten."""

import asyncio
from dataclasses import replace

import pytest

from liquidation.rules.model import ClaimEvent, ClaimState
from liquidation.store.base import ClaimActiveError, ClaimFilter, ClaimRecord
from liquidation.store.postgres import rows as postgres_pages
from liquidation.store.sqlite import rows as sqlite_pages
from tests.clocks import Clock
from tests.store.builders import (
    LEASE_S,
    accept_all,
    begin,
    begin_request,
    claimed,
    of_account,
    snapshot,
    state_of,
)
from tests.store.conftest import OpenStore
from tests.store.stores import AwaitedStore

HOUR_S = 3600
MICROSECOND_S = 0.000001
ENDS = [ClaimState.COMPLETED, ClaimState.CANCELLED]


@pytest.fixture(autouse=True)
async def known_liquidations(store: AwaitedStore) -> None:
    """Liquidation 1 of account-1, 2 of account-2 and 3 of account-1 again."""
    await store.put([of_account(1), of_account(2), snapshot(3)])


async def test_tokens_only_grow_over_cancelling_purging_and_opening_again(
    open_store: OpenStore, clock: Clock
) -> None:
    tokens = []
    for _ in range(3):
        async with open_store() as store:
            for _ in range(2):
                claim = await claimed(store)
                tokens.append(claim.fencing_token)
                await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED)
            clock.advance(HOUR_S)
            assert await store.purge() == 2

    assert tokens == sorted(set(tokens))


async def test_a_renewed_lease_runs_from_now(store: AwaitedStore, clock: Clock) -> None:
    claim = await claimed(store)
    clock.advance(LEASE_S - 1)

    renewed = await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)

    assert renewed.applied
    assert renewed.claim == replace(claim, expire_us=clock.wall_us() + 60_000_000)
    clock.advance(60 - MICROSECOND_S)
    assert (await state_of(store)).active_claim is not None
    clock.advance(MICROSECOND_S)
    assert (await state_of(store)).active_claim is None


@pytest.mark.parametrize("state", ENDS)
async def test_an_ended_claim_frees_the_account_and_is_not_ended_again(
    store: AwaitedStore, clock: Clock, state: ClaimState
) -> None:
    claim = await claimed(store)
    clock.advance(1)

    ended = await store.end(claim.claim_id, claim.fencing_token, state, "why")
    over = replace(claim, state=state, end_us=clock.wall_us(), end_reason="why")

    assert (ended.claim, ended.applied) == (over, True)
    assert (await state_of(store)).active_claim is None
    for other in ENDS:
        again = await store.end(claim.claim_id, claim.fencing_token, other, "again")
        assert (again.claim, again.applied) == (over, False)
    assert not (await store.renew(claim.claim_id, claim.fencing_token, 1_000_000)).applied
    assert (await claimed(store)).fencing_token > claim.fencing_token


async def test_another_token_changes_nothing(store: AwaitedStore) -> None:
    claim = await claimed(store)

    for token in (claim.fencing_token + 1, claim.fencing_token - 1, 0, 2**63 - 1):
        for changed in (
            await store.renew(claim.claim_id, token, 60_000_000),
            *[await store.end(claim.claim_id, token, each) for each in ENDS],
        ):
            assert (changed.claim, changed.applied) == (claim, False)
    assert await store.claim(claim_id=claim.claim_id) == claim


async def test_a_claim_that_is_not_known_cannot_be_changed(store: AwaitedStore) -> None:
    renewed = await store.renew("no-such", 1, 1_000_000)

    assert (renewed.claim, renewed.applied) == (None, False)
    assert await store.end("no-such", 1, ClaimState.COMPLETED) == renewed
    assert await store.claim(claim_id="no-such") is None


async def test_a_lease_that_ran_out_frees_the_account_at_that_moment(
    store: AwaitedStore, clock: Clock
) -> None:
    claim = await claimed(store)
    clock.advance(1)
    running = (await state_of(store)).active_claim
    assert running is not None
    assert running.lease_left_s == LEASE_S - 1
    clock.advance(LEASE_S - 1 - MICROSECOND_S)
    assert (await begin(store)).claim is None

    clock.advance(MICROSECOND_S)

    assert (await state_of(store)).active_claim is None
    found = await store.claim(claim_id=claim.claim_id)
    assert found is not None
    assert (found.state, found.end_us) == (ClaimState.EXPIRED, claim.expire_us)
    late = await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED)
    assert (late.claim, late.applied) == (found, False)
    assert not (await store.renew(claim.claim_id, claim.fencing_token, 1_000_000)).applied
    next_one = await begin(store)
    assert next_one.claim is not None
    assert next_one.claim.fencing_token > claim.fencing_token
    assert next_one.expired == (found,)


async def test_only_the_lease_of_its_account_is_expired_by_a_claim(
    store: AwaitedStore, clock: Clock
) -> None:
    others, own = await claimed(store, 2), await claimed(store, 1)
    clock.advance(LEASE_S)

    begun = await begin(store, None, accept_all)

    assert [each.claim_id for each in begun.expired] == [own.claim_id]
    assert [each.claim_id for each in await store.expire()] == [others.claim_id]


async def test_each_expired_lease_is_told_to_one_caller(
    open_store: OpenStore, clock: Clock
) -> None:
    async with open_store() as one, open_store() as other:
        claims = [await claimed(one, each) for each in (1, 2)]
        clock.advance(LEASE_S)

        told = await asyncio.gather(one.expire(10), other.expire(10))

        assert sorted(claim.claim_id for each in told for claim in each) == sorted(
            claim.claim_id for claim in claims
        )
        assert [each.change for each in await one.history(claims[0].claim_id)] == [
            "begin",
            "expire",
        ]


async def test_as_many_leases_are_expired_as_asked(store: AwaitedStore, clock: Clock) -> None:
    running = await claimed(store, 1, lease_s=300)
    over = await claimed(store, 2)
    await store.put([of_account(4)])
    other = await claimed(store, 4)
    clock.advance(LEASE_S)

    expired = [await store.expire(1) for _ in range(3)]

    assert [len(each) for each in expired] == [1, 1, 0]
    assert {each.claim_id for page in expired for each in page} == {over.claim_id, other.claim_id}
    assert await store.claim(claim_id=running.claim_id) == running


async def test_a_lease_that_ran_out_is_told_once_if_its_request_comes_again(
    store: AwaitedStore, clock: Clock
) -> None:
    """By that request, or else by what looks for such leases in the background."""
    claim = await claimed(store, request_id="r-1")
    clock.advance(LEASE_S)

    again = await begin(store, begin_request("r-1"))

    assert again.known
    assert again.claim is not None
    assert again.claim.state is ClaimState.EXPIRED
    told = [*again.expired, *await store.expire()]
    assert [each.claim_id for each in told] == [claim.claim_id]


async def test_a_completed_claim_settles_the_account_at_its_revision(store: AwaitedStore) -> None:
    await store.put([snapshot(1, revision=9)])
    # Liquidation 3 of the same account is at revision 1.
    for liquidation_id, revision in ((1, 9), (3, 1)):
        claim = await claimed(store, liquidation_id, accept_all)
        assert claim.liquidation_revision == revision
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED)

    assert (await state_of(store, 1)).last_completed_revision == 9
    assert (await state_of(store, 3)).last_completed_revision == 9
    assert (await state_of(store, 2)).last_completed_revision is None


async def test_a_cancelled_claim_settles_nothing(store: AwaitedStore) -> None:
    claim = await claimed(store)

    await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED)

    assert (await state_of(store)).last_completed_revision is None


async def test_a_purge_forgets_old_claims_but_not_what_they_settled(
    store: AwaitedStore, clock: Clock
) -> None:
    old = await claimed(store, request_id="old")
    await store.end(old.claim_id, old.fencing_token, ClaimState.COMPLETED)
    clock.advance(HOUR_S)
    young = await claimed(store)
    await store.end(young.claim_id, young.fencing_token, ClaimState.CANCELLED)
    active = await claimed(store, lease_s=300)

    assert await store.purge(HOUR_S * 1_000_000) == 0
    clock.advance(MICROSECOND_S)
    assert await store.purge(HOUR_S * 1_000_000) == 1

    assert await store.claim(request_id="old") is None
    assert await store.history(old.claim_id) == []
    assert await store.claim(claim_id=young.claim_id) is not None
    assert await store.claim(claim_id=active.claim_id) == active
    assert (await state_of(store)).last_completed_revision == 1


async def test_a_purge_takes_no_more_than_asked(store: AwaitedStore, clock: Clock) -> None:
    for _ in range(5):
        claim = await claimed(store)
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED)
    clock.advance(1)

    assert [await store.purge(0, 3) for _ in range(3)] == [3, 2, 0]


async def test_a_liquidation_is_not_closed_while_a_claim_on_it_is_active(
    store: AwaitedStore, clock: Clock
) -> None:
    claim = await claimed(store)

    with pytest.raises(ClaimActiveError) as raised:
        await store.close_liquidation(1)

    assert raised.value.active.claim_id == claim.claim_id
    assert raised.value.active.lease_left_s == LEASE_S
    assert await store.get(1) is not None
    assert await store.close_liquidation(3) is not None
    clock.advance(LEASE_S)
    assert await store.close_liquidation(1) is not None


async def test_active_claims_are_counted(store: AwaitedStore, clock: Clock) -> None:
    counts = [await store.count_active()]
    await claimed(store, 1)
    second = await claimed(store, 2, lease_s=2 * LEASE_S)
    counts.append(await store.count_active())
    clock.advance(LEASE_S)
    counts.append(await store.count_active())  # not written down yet
    await store.expire()
    counts.append(await store.count_active())
    await store.end(second.claim_id, second.fencing_token, ClaimState.COMPLETED)
    counts.append(await store.count_active())

    assert counts == [0, 2, 1, 1, 0]


async def test_claims_are_listed_newest_first_by_filter_and_page(
    store: AwaitedStore, clock: Clock
) -> None:
    claims = []
    for liquidation_id, end in ((1, "COMPLETED"), (2, "CANCELLED"), (3, ""), (2, "")):
        claim = await claimed(store, liquidation_id)
        claims.append(claim.claim_id)
        if end:
            await store.end(claim.claim_id, claim.fencing_token, ClaimState[end])
    completed, cancelled, active_1, active_2 = claims

    async def listed(**wanted: object) -> list[str]:
        page = await store.claims(ClaimFilter(**wanted))  # type: ignore[arg-type]
        return [each.claim_id for each in page.claims]

    assert await listed() == claims[::-1]
    assert await listed(account_id="account-1") == [active_1, completed]
    assert await listed(liquidation_id=2) == [active_2, cancelled]
    assert await listed(state=ClaimState.ACTIVE) == [active_2, active_1]
    assert await listed(state=ClaimState.CANCELLED) == [cancelled]
    assert await listed(account_id="account-1", liquidation_id=1, state=ClaimState.COMPLETED) == [
        completed
    ]
    clock.advance(LEASE_S)
    assert await listed(state=ClaimState.ACTIVE) == []
    assert await listed(state=ClaimState.EXPIRED) == [active_2, active_1]


@pytest.mark.parametrize(
    ("most_bytes", "size", "pages"),
    # What is claimed and the terms have some 150 bytes, in either engine's form.
    [
        (1, 10, [1] * 4),
        (200, 10, [2, 2]),
        (200, 1, [1] * 4),
        (100_000, 3, [3, 1]),
        (100_000, 4, [4]),
    ],
)
async def test_pages_have_each_claim_once_and_are_bounded_in_rows_and_bytes(
    store: AwaitedStore,
    monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
    size: int,
    pages: list[int],
) -> None:
    claims = []
    for _ in range(4):
        claim = await claimed(store)
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED)
        claims.append(claim.claim_id)
    for engine in (sqlite_pages, postgres_pages):
        monkeypatch.setattr(engine, "MAX_PAGE_BYTES", most_bytes)

    page = await store.claims(size=size)
    found = [page.claims]
    while page.next_below is not None:
        page = await store.claims(below=page.next_below, size=size)
        found.append(page.claims)

    assert [len(each) for each in found] == pages
    assert [each.claim_id for part in found for each in part] == claims[::-1]


@pytest.mark.parametrize("end", ["complete", "cancel", "expire"])
async def test_the_history_tells_what_happened_when_and_why(
    store: AwaitedStore, clock: Clock, end: str
) -> None:
    claim = await claimed(store)
    began = ClaimEvent("begin", claim.begin_us, claim.expire_us)
    clock.advance(10)
    await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)
    lease_end_us = clock.wall_us() + 60_000_000
    renewed = ClaimEvent("renew", clock.wall_us(), lease_end_us)
    clock.advance(60 if end == "expire" else 10)

    if end == "expire":
        await store.expire()
        ended = ClaimEvent("expire", lease_end_us, lease_end_us, "The lease ran out.")
    else:
        state = ClaimState.COMPLETED if end == "complete" else ClaimState.CANCELLED
        await store.end(claim.claim_id, claim.fencing_token, state, "why")
        ended = ClaimEvent(end, clock.wall_us(), lease_end_us, "why")

    assert await store.history(claim.claim_id) == [began, renewed, ended]


async def test_an_operator_needs_no_token_and_the_history_says_so(store: AwaitedStore) -> None:
    claim = await claimed(store)

    assert (await store.end(claim.claim_id, None, ClaimState.CANCELLED, "stuck")).applied

    history = await store.history(claim.claim_id)
    assert [(each.change, each.forced, each.reason) for each in history] == [
        ("begin", False, ""),
        ("cancel", True, "stuck"),
    ]


async def test_a_claim_and_its_history_are_read_at_one_moment(store: AwaitedStore) -> None:
    claim = await claimed(store)
    renewals = [
        store.renew(claim.claim_id, claim.fencing_token, 60_000_000 + each) for each in range(20)
    ]
    looks = [store.record(request_id=claim.request_id) for _ in range(20)]
    mixed = [each for pair in zip(renewals, looks, strict=True) for each in pair]

    for seen in (await asyncio.gather(*mixed))[1::2]:
        assert isinstance(seen, ClaimRecord)
        assert seen.history[-1].expire_us == seen.claim.expire_us
