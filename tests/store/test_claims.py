"""What every store promises about claims: one an account, fenced, leased, never lost."""

import asyncio
from dataclasses import replace

import pytest

from liquidation.rules.model import ClaimState, StoredState
from liquidation.store.base import ClaimActiveError, ClaimFilter, StateQuery
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore
from tests.store.claiming import (
    LEASE_S,
    accept_all,
    begin,
    begin_request,
    granted,
    refuse,
    terms,
)
from tests.store.conftest import OpenStore
from tests.store.snapshots import snapshot

HOUR_S = 3600


@pytest.fixture(autouse=True)
async def known_liquidations(store: AwaitedStore) -> None:
    """Liquidation 1 of account-1, 2 of account-2 and 3 of account-1 again."""
    await store.put(
        [snapshot(1), snapshot(2, account_id="account-2"), snapshot(3, account_id="account-1")]
    )


async def stored_state(store: AwaitedStore, liquidation_id: int = 1) -> StoredState:
    (found,) = await store.states([StateQuery(liquidation_id, "nobody")])
    return found


async def test_a_claim_that_is_granted_is_told_in_full(store: AwaitedStore, clock: Clock) -> None:
    request = begin_request("r-1")

    begun = await begin(store, request)

    claim = granted(begun)
    assert (claim.claim_id, claim.request_id, claim.account_id) == (
        request.claim_id,
        "r-1",
        "account-1",
    )
    assert (claim.state, claim.terms, claim.liquidation_revision) == (
        ClaimState.ACTIVE,
        terms(),
        1,
    )
    assert claim.positions == begun.decision.positions
    assert claim.expire_us - claim.begin_us == LEASE_S * 1_000_000
    assert (claim.begin_us, claim.end_us) == (clock.wall_us(), None)
    assert await store.claim(claim_id=claim.claim_id) == claim
    assert await store.claim(request_id="r-1") == claim


async def test_a_refused_claim_leaves_nothing(store: AwaitedStore) -> None:
    begun = await begin(store, begin_request("r-1"), refuse)

    assert begun.claim is None
    assert await store.claim(request_id="r-1") is None
    assert granted(await begin(store, begin_request("r-1"))).state is ClaimState.ACTIVE


async def test_a_claim_on_a_liquidation_that_is_not_known_is_for_the_rules_to_refuse(
    store: AwaitedStore,
) -> None:
    begun = await begin(store, begin_request(liquidation_id=99))

    assert begun.claim is None
    assert not begun.decision.accepted


async def test_an_account_has_one_slot_over_all_its_liquidations(store: AwaitedStore) -> None:
    first = granted(await begin(store, begin_request(liquidation_id=1)))

    second = await begin(store, begin_request(liquidation_id=3))

    assert second.claim is None
    assert second.state is not None
    assert second.state.active_claim is not None
    assert second.state.active_claim.claim_id == first.claim_id
    assert granted(await begin(store, begin_request(liquidation_id=2)))


async def test_the_slot_is_held_even_where_no_rule_looks_for_it(store: AwaitedStore) -> None:
    await begin(store, begin_request(), accept_all)

    begun = await begin(store, begin_request(), accept_all)

    assert begun.claim is None
    assert begun.decision.accepted


async def test_of_many_at_once_exactly_one_is_granted(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        outcomes = await asyncio.gather(
            *(begin((one, other)[each % 2], begin_request(), accept_all) for each in range(64))
        )

    assert sum(begun.claim is not None for begun in outcomes) == 1


async def test_the_same_request_at_once_is_one_claim_and_the_same_answer(
    open_store: OpenStore,
) -> None:
    async with open_store() as one, open_store() as other:
        outcomes = await asyncio.gather(
            *(begin((one, other)[each % 2], begin_request("r-1")) for each in range(64))
        )

    assert len({granted(begun).claim_id for begun in outcomes}) == 1
    assert len({begun.decision_id for begun in outcomes}) == 1
    assert sum(not begun.known for begun in outcomes) == 1
    numbers = {
        (begun.decision.total_notional, begun.decision.margin_ratio, begun.decision.rules_version)
        for begun in outcomes
    }
    assert len(numbers) == 1


async def test_a_known_request_gives_the_claim_as_it_stands(store: AwaitedStore) -> None:
    claim = granted(await begin(store, begin_request("r-1")))
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, "changed my mind")

    again = await begin(store, begin_request("r-1"))

    assert again.known
    assert granted(again).state is ClaimState.CANCELLED
    assert granted(again).claim_id == claim.claim_id


async def test_tokens_only_grow_over_cancelling_purging_and_opening_again(
    open_store: OpenStore, clock: Clock
) -> None:
    tokens = []
    for _ in range(3):
        async with open_store() as store:
            for _ in range(2):
                claim = granted(await begin(store))
                tokens.append(claim.fencing_token)
                await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, "")
            clock.advance(HOUR_S)
            assert await store.purge(retention_us=0, most=100) == 2

    assert tokens == sorted(set(tokens))


async def test_the_snapshot_of_a_request_is_stored_with_the_claim(store: AwaitedStore) -> None:
    begun = await begin(store, begin_request(snapshot=snapshot(1, revision=5)))

    assert granted(begun).liquidation_revision == 5
    stored = await store.get(1)
    assert stored is not None
    assert stored.revision == 5


async def test_the_snapshot_is_stored_even_where_the_claim_is_refused(store: AwaitedStore) -> None:
    begun = await begin(store, begin_request(snapshot=snapshot(7)), refuse)

    assert begun.claim is None
    assert begun.put is not None
    assert begun.put.opened
    assert await store.get(7) == snapshot(7)


async def test_a_snapshot_for_another_account_is_neither_stored_nor_granted(
    store: AwaitedStore,
) -> None:
    stranger = snapshot(1, revision=5, account_id="account-9")

    begun = await begin(store, begin_request(snapshot=stranger), refuse)

    assert begun.claim is None
    assert await store.get(1) == snapshot(1)


async def test_a_renewed_lease_counts_from_now(store: AwaitedStore, clock: Clock) -> None:
    claim = granted(await begin(store))
    clock.advance(LEASE_S - 1)

    renewed = await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)

    assert renewed.applied
    assert renewed.claim is not None
    assert renewed.claim.expire_us == clock.wall_us() + 60_000_000
    clock.advance(59)
    assert (await stored_state(store)).active_claim is not None


@pytest.mark.parametrize("state", [ClaimState.COMPLETED, ClaimState.CANCELLED])
async def test_an_ended_claim_frees_the_account(
    store: AwaitedStore, clock: Clock, state: ClaimState
) -> None:
    claim = granted(await begin(store))
    clock.advance(1)

    ended = await store.end(claim.claim_id, claim.fencing_token, state, "why")

    assert ended.applied
    assert ended.claim == replace(claim, state=state, end_us=clock.wall_us(), end_reason="why")
    assert (await stored_state(store)).active_claim is None
    assert granted(await begin(store)).fencing_token > claim.fencing_token


@pytest.mark.parametrize("change", ["renew", "complete", "cancel"])
async def test_another_token_changes_nothing(store: AwaitedStore, change: str) -> None:
    claim = granted(await begin(store))
    token = claim.fencing_token + 1

    if change == "renew":
        changed = await store.renew(claim.claim_id, token, 60_000_000)
    else:
        state = ClaimState.COMPLETED if change == "complete" else ClaimState.CANCELLED
        changed = await store.end(claim.claim_id, token, state, "")

    assert not changed.applied
    assert changed.claim == claim
    assert await store.claim(claim_id=claim.claim_id) == claim


@pytest.mark.parametrize("state", [ClaimState.COMPLETED, ClaimState.CANCELLED])
async def test_an_ended_claim_is_not_ended_again(store: AwaitedStore, state: ClaimState) -> None:
    claim = granted(await begin(store))
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "first")

    again = await store.end(claim.claim_id, claim.fencing_token, state, "second")

    assert not again.applied
    assert again.claim is not None
    assert (again.claim.state, again.claim.end_reason) == (ClaimState.COMPLETED, "first")


async def test_a_claim_that_is_not_known_cannot_be_changed(store: AwaitedStore) -> None:
    assert await store.renew("no-such", 1, 1_000_000) == await store.end(
        "no-such", 1, ClaimState.COMPLETED, ""
    )
    assert await store.claim(claim_id="no-such") is None
    assert await store.history("no-such") == []


async def test_a_lease_that_ran_out_frees_the_account_at_that_moment(
    store: AwaitedStore, clock: Clock
) -> None:
    claim = granted(await begin(store))
    clock.advance(LEASE_S - 0.000001)
    assert (await begin(store)).claim is None

    clock.advance(0.000001)

    assert (await stored_state(store)).active_claim is None
    found = await store.claim(claim_id=claim.claim_id)
    assert found is not None
    assert (found.state, found.end_us) == (ClaimState.EXPIRED, claim.expire_us)
    late = await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
    assert not late.applied
    assert late.claim == found
    assert not (await store.renew(claim.claim_id, claim.fencing_token, 1_000_000)).applied
    next_one = await begin(store)
    assert granted(next_one).fencing_token > claim.fencing_token
    assert next_one.expired == (found,)


async def test_leases_that_ran_out_are_each_told_once(open_store: OpenStore, clock: Clock) -> None:
    async with open_store() as one, open_store() as other:
        claims = [granted(await begin(one, begin_request(liquidation_id=each))) for each in (1, 2)]
        clock.advance(LEASE_S)

        told = await asyncio.gather(one.expire(10), other.expire(10))

        assert sorted(claim.claim_id for each in told for claim in each) == sorted(
            claim.claim_id for claim in claims
        )
        history = await one.history(claims[0].claim_id)
        assert [each.change for each in history] == ["begin", "expire"]


async def test_what_was_completed_settles_the_account(store: AwaitedStore) -> None:
    await store.put([snapshot(1, revision=4)])
    claim = granted(await begin(store))

    assert (await stored_state(store)).last_completed_revision is None
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    assert (await stored_state(store)).last_completed_revision == 4
    assert (await stored_state(store, 3)).last_completed_revision == 4
    assert (await stored_state(store, 2)).last_completed_revision is None


async def test_what_was_settled_never_goes_back(store: AwaitedStore) -> None:
    await store.put([snapshot(1, revision=9)])
    for liquidation_id in (1, 3):
        request = begin_request(liquidation_id=liquidation_id)
        claim = granted(await begin(store, request, accept_all))
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    assert claim.liquidation_revision == 1
    assert (await stored_state(store)).last_completed_revision == 9


async def test_a_purge_forgets_old_claims_and_not_what_they_settled(
    store: AwaitedStore, clock: Clock
) -> None:
    old = granted(await begin(store, begin_request("old")))
    await store.end(old.claim_id, old.fencing_token, ClaimState.COMPLETED, "")
    clock.advance(HOUR_S)
    young = granted(await begin(store, begin_request("young")))
    await store.end(young.claim_id, young.fencing_token, ClaimState.CANCELLED, "")
    active = granted(await begin(store, begin_request("active", lease_s=300)))

    assert await store.purge(retention_us=HOUR_S * 1_000_000 - 1, most=100) == 1

    assert await store.claim(request_id="old") is None
    assert await store.history(old.claim_id) == []
    assert await store.claim(request_id="young") is not None
    assert await store.claim(request_id="active") == active
    assert (await stored_state(store)).last_completed_revision == 1


async def test_a_purge_takes_no_more_than_it_may(store: AwaitedStore, clock: Clock) -> None:
    for _ in range(5):
        claim = granted(await begin(store))
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, "")
    clock.advance(1)

    assert [await store.purge(0, 3), await store.purge(0, 3), await store.purge(0, 3)] == [3, 2, 0]


async def test_a_liquidation_stays_open_while_a_claim_on_it_is_active(
    store: AwaitedStore, clock: Clock
) -> None:
    claim = granted(await begin(store))

    with pytest.raises(ClaimActiveError) as raised:
        await store.close_liquidation(1)

    assert raised.value.active.claim_id == claim.claim_id
    assert raised.value.active.lease_left_s == LEASE_S
    assert await store.get(1) is not None
    assert await store.close_liquidation(3) is not None
    clock.advance(LEASE_S)
    assert await store.close_liquidation(1) is not None


async def test_the_claims_that_are_active_and_whose_lease_runs_are_counted(
    store: AwaitedStore, clock: Clock
) -> None:
    assert await store.count_active() == 0
    await begin(store, begin_request(liquidation_id=1))
    second = granted(await begin(store, begin_request(liquidation_id=2, lease_s=2 * LEASE_S)))

    assert await store.count_active() == 2
    clock.advance(LEASE_S)
    assert await store.count_active() == 1, "a lease that ran out counts no more, at once"
    await store.expire(100)
    assert await store.count_active() == 1
    await store.end(second.claim_id, second.fencing_token, ClaimState.COMPLETED, "")
    assert await store.count_active() == 0


async def test_claims_are_listed_newest_first_by_what_is_wanted(
    store: AwaitedStore, clock: Clock
) -> None:
    claims = []
    for liquidation_id, end in ((1, "COMPLETED"), (2, "CANCELLED"), (3, ""), (2, "")):
        claim = granted(await begin(store, begin_request(liquidation_id=liquidation_id)))
        claims.append(claim.claim_id)
        if end:
            await store.end(claim.claim_id, claim.fencing_token, ClaimState[end], "")
    completed, cancelled, active_1, active_2 = claims

    async def listed(wanted: ClaimFilter) -> list[str]:
        page = await store.claims(wanted, None, 100)
        return [each.claim_id for each in page.claims]

    assert await listed(ClaimFilter()) == claims[::-1]
    assert await listed(ClaimFilter(account_id="account-1")) == [active_1, completed]
    assert await listed(ClaimFilter(liquidation_id=2)) == [active_2, cancelled]
    assert await listed(ClaimFilter(state=ClaimState.ACTIVE)) == [active_2, active_1]
    assert await listed(ClaimFilter(state=ClaimState.CANCELLED)) == [cancelled]
    clock.advance(LEASE_S)
    assert await listed(ClaimFilter(state=ClaimState.ACTIVE)) == []
    assert await listed(ClaimFilter(state=ClaimState.EXPIRED)) == [active_2, active_1]
    first = await store.claims(ClaimFilter(), None, 3)
    assert first.next_below is not None
    rest = await store.claims(ClaimFilter(), first.next_below, 3)
    assert [each.claim_id for page in (first, rest) for each in page.claims] == claims[::-1]
    assert rest.next_below is None
    # A page that is just full is the last one where there are no more.
    assert (await store.claims(ClaimFilter(), None, 4)).next_below is None
    both = ClaimFilter(account_id="account-1", liquidation_id=1, state=ClaimState.COMPLETED)
    assert await listed(both) == [completed]


async def test_an_acknowledged_claim_is_there_after_opening_again(
    open_store: OpenStore,
) -> None:
    async with open_store() as store:
        claim = granted(await begin(store, begin_request("r-1")))

    async with open_store() as store:
        assert await store.claim(request_id="r-1") == claim
        assert (await begin(store, begin_request("other"))).claim is None
