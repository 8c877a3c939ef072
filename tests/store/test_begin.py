"""What every store promises when a claim begins: one an account, and the same answer again."""

import asyncio
from dataclasses import replace

import pytest

from liquidation.rules.decision import Decision
from liquidation.rules.model import ClaimState, StoredState
from tests.clocks import Clock
from tests.store.builders import (
    LEASE_S,
    Noting,
    accept,
    accept_all,
    begin,
    begin_request,
    claimed,
    granted,
    of_account,
    refuse,
    snapshot,
    state_of,
    terms,
)
from tests.store.conftest import OpenStore
from tests.store.stores import AwaitedStore


@pytest.fixture(autouse=True)
async def known_liquidations(store: AwaitedStore) -> None:
    """Liquidation 1 of account-1, 2 of account-2 and 3 of account-1 again."""
    await store.put([of_account(1), of_account(2), snapshot(3)])


async def test_a_claim_is_granted_with_all_that_belongs_to_it(
    store: AwaitedStore, clock: Clock
) -> None:
    request = begin_request("r-1")

    begun = await begin(store, request)

    claim = granted(begun)
    assert (begun.known, begun.decision_id) == (False, request.decision_id)
    assert (claim.claim_id, claim.request_id) == (request.claim_id, "r-1")
    assert (claim.account_id, claim.terms, claim.liquidation_revision) == ("account-1", terms(), 1)
    assert (claim.state, claim.positions) == (ClaimState.ACTIVE, begun.decision.positions)
    assert (claim.begin_us, claim.end_us) == (clock.wall_us(), None)
    assert claim.expire_us == claim.begin_us + LEASE_S * 1_000_000
    assert await store.claim(claim_id=claim.claim_id) == claim
    assert await store.claim(request_id="r-1") == claim
    assert await store.claim(claim_id="none", request_id="r-1") is None


async def test_a_refused_request_leaves_nothing_and_may_come_again(store: AwaitedStore) -> None:
    assert (await begin(store, begin_request("r-1"), refuse)).claim is None

    assert await store.claim(request_id="r-1") is None
    assert granted(await begin(store, begin_request("r-1"))).state is ClaimState.ACTIVE


async def test_an_account_has_one_slot_for_all_its_liquidations(store: AwaitedStore) -> None:
    first = await claimed(store, 1)

    second = await begin(store, begin_request(liquidation_id=3))

    assert second.claim is None
    assert second.state is not None
    assert second.state.active_claim is not None
    assert second.state.active_claim.claim_id == first.claim_id
    assert await claimed(store, 2)


async def test_the_slot_is_held_if_no_rule_looks_at_it(store: AwaitedStore) -> None:
    await claimed(store)

    begun = await begin(store, begin_request(), accept_all)

    assert (begun.claim, begun.decision.accepted) == (None, True)


async def test_of_64_at_once_one_is_granted_whoever_is_asked(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        outcomes = await asyncio.gather(
            *(begin((one, other)[each % 2], begin_request(), accept_all) for each in range(64))
        )

    assert sum(begun.claim is not None for begun in outcomes) == 1


async def test_of_many_at_once_each_that_is_refused_is_told_who_holds_the_account(
    store: AwaitedStore,
) -> None:
    requests = [begin_request() for _ in range(8)]

    outcomes = await asyncio.gather(*(begin(store, each) for each in requests))

    (winner,) = (begun.claim for begun in outcomes if begun.claim is not None)
    for request, begun in zip(requests, outcomes, strict=True):
        assert begun.decision_id == request.decision_id
        if begun.claim is None:
            assert begun.decision.refusal is not None
            assert begun.decision.refusal.values == {"claim_id": winner.claim_id}
            assert begun.state is not None
            assert begun.state.active_claim is not None
            assert begun.state.active_claim.claim_id == winner.claim_id


async def test_the_same_request_64_times_at_once_is_one_claim_and_one_answer(
    open_store: OpenStore,
) -> None:
    async with open_store() as one, open_store() as other:
        outcomes = await asyncio.gather(
            *(begin((one, other)[each % 2], begin_request("r-1")) for each in range(64))
        )

    assert sum(not begun.known for begun in outcomes) == 1
    answers = {
        (
            granted(begun).claim_id,
            begun.decision_id,
            replace(begun.decision, account_id="", positions=()),
        )
        for begun in outcomes
    }
    assert len(answers) == 1


async def test_a_known_request_gets_its_claim_as_it_stands_and_the_first_decision(
    store: AwaitedStore,
) -> None:
    def without_numbers(state: StoredState) -> Decision:
        return replace(accept(state), total_notional="", least_req_ratio="")

    first = await begin(store, begin_request("r-1"), without_numbers)
    claim = granted(first)
    ended = await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, "why")

    again = await begin(store, begin_request("r-1"))

    assert (again.known, again.claim, again.decision_id) == (True, ended.claim, first.decision_id)
    # Its positions are those of the claim.
    assert again.decision == replace(first.decision, account_id="account-1", positions=())


async def test_a_known_request_stores_nothing_again(store: AwaitedStore) -> None:
    await begin(store, begin_request("r-1", snapshot(1, revision=2)))

    again = await begin(store, begin_request("r-1", snapshot(1, revision=3)))

    assert (again.known, again.put) == (True, None)
    assert await store.get(1) == snapshot(1, revision=2)


async def test_a_snapshot_is_stored_with_the_claim_and_if_the_claim_is_refused(
    store: AwaitedStore,
) -> None:
    begun = await begin(store, begin_request(snapshot=snapshot(1, revision=5)))
    refused = await begin(store, begin_request(snapshot=snapshot(7)), refuse)

    assert granted(begun).liquidation_revision == 5
    assert begun.put is not None
    assert (begun.put.applied, begun.put.opened) == (True, False)
    assert await store.get(1) == snapshot(1, revision=5)
    assert refused.put is not None
    assert (refused.claim, refused.put.opened) == (None, True)
    assert await store.get(7) == snapshot(7)


async def test_a_snapshot_of_another_account_is_neither_stored_nor_granted(
    store: AwaitedStore,
) -> None:
    """It is refused for what stands against the account that it names."""
    of_2 = await claimed(store, 2)
    look = Noting()

    for _ in range(2):
        stranger = snapshot(1, revision=5, account_id="account-2")
        begun = await begin(store, begin_request(snapshot=stranger), look)
        assert (begun.claim, begun.put) == (None, None)

    assert await store.get(1) == snapshot(1)
    assert {each.active_claim and each.active_claim.claim_id for each in look.seen[-1:]} == {
        of_2.claim_id
    }


@pytest.mark.parametrize(("sent", "seen"), [(1, 2), (2, 2), (3, 3)])
async def test_the_rules_see_the_newer_of_the_snapshots_sent_and_stored(
    store: AwaitedStore, sent: int, seen: int
) -> None:
    await store.put([snapshot(1, revision=2)])
    look = Noting(accept_all)

    begun = await begin(store, begin_request(None, snapshot(1, revision=sent)), look)

    assert begun.state == look.seen[-1]
    assert look.seen[-1].liquidation == snapshot(1, revision=seen)
    assert granted(begun).liquidation_revision == seen


async def test_the_rules_see_what_was_settled_on_the_account_of_the_snapshot_sent(
    store: AwaitedStore,
) -> None:
    claim = await claimed(store)
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED)

    begun = await begin(store, begin_request(None, snapshot(9, revision=7)), refuse)

    assert begun.state is not None
    assert begun.state.last_completed_revision == 1


async def test_a_claim_in_process_is_told_before_what_else_is_against_a_request(
    store: AwaitedStore,
) -> None:
    claim = await claimed(store)

    def slot_first(state: StoredState) -> Decision:
        return accept(state) if state.active_claim else refuse(state)

    begun = await begin(store, begin_request(), slot_first)

    assert begun.decision.refusal is not None
    assert begun.decision.refusal.values == {"claim_id": claim.claim_id}
    assert begun.decision.refusal.retry_after_s == LEASE_S


async def test_the_rules_see_a_liquidator_in_liquidation_if_the_other_is_not_known(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(4, account_id="liquidator-1")])

    begun = await begin(store, begin_request(liquidation_id=99))

    assert (begun.claim, begun.decision.accepted) == (None, False)
    assert begun.state == StoredState(liquidator_in_liquidation=True)


async def test_rules_that_raise_do_so_to_their_own_caller_only(store: AwaitedStore) -> None:
    failure = LookupError("no such rule")

    def fail(_: StoredState) -> Decision:
        raise failure

    outcomes = await asyncio.gather(
        begin(store, begin_request(liquidation_id=1), fail),
        begin(store, begin_request(liquidation_id=2)),
        begin(store, begin_request(snapshot=snapshot(9)), fail),
        return_exceptions=True,
    )

    assert (outcomes[0], outcomes[2]) == (failure, failure)
    assert not isinstance(outcomes[1], BaseException)
    assert granted(outcomes[1]).account_id == "account-2"


async def test_an_acknowledged_claim_is_there_after_opening_again(open_store: OpenStore) -> None:
    async with open_store() as store:
        claim = await claimed(store, request_id="r-1")

    async with open_store() as store:
        assert await store.claim(request_id="r-1") == claim
        assert (await begin(store)).claim is None
        assert (await state_of(store)).active_claim is not None


async def test_two_that_are_open_see_each_other_s_claims_at_once(open_store: OpenStore) -> None:
    async with open_store() as one, open_store() as other:
        for _ in range(20):
            claim = await claimed(one, 1, accept_all)
            assert (await begin(other, begin_request(), accept_all)).claim is None
            await other.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED)
            one, other = other, one  # noqa: PLW2901 - both stay open to the end
