"""What every store lets the rules see of a claim that begins, and tells of one afterwards."""

import asyncio
from dataclasses import replace

import pytest

from liquidation.rules.model import ClaimEvent, ClaimState, Decision, StoredState
from liquidation.store.base import ClaimFilter, ClaimRecord
from liquidation.store.postgres import states as postgres_pages
from liquidation.store.records import LEASE_RAN_OUT
from liquidation.store.sqlite import claim_rows as sqlite_pages
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore
from tests.store.claiming import (
    LEASE_S,
    accept,
    accept_all,
    begin,
    begin_request,
    granted,
    refuse,
)
from tests.store.snapshots import snapshot


@pytest.fixture(autouse=True)
async def known_liquidations(store: AwaitedStore) -> None:
    """One of each of two accounts."""
    await store.put([snapshot(1), snapshot(2, account_id="account-2")])


async def test_a_known_request_gets_the_decision_that_granted_it(store: AwaitedStore) -> None:
    first = await begin(store, begin_request("r-1"))

    again = await begin(store, begin_request("r-1"))

    assert (again.known, again.decision_id) == (True, first.decision_id)
    # Its positions are those of the claim.
    assert again.decision == replace(first.decision, account_id="account-1", positions=())


async def test_a_request_that_got_its_claim_before_stores_nothing_again(
    store: AwaitedStore,
) -> None:
    await begin(store, begin_request("r-1", snapshot(1, revision=2)))

    again = await begin(store, begin_request("r-1", snapshot(1, revision=3)))

    assert (again.known, again.put) == (True, None)
    assert await store.get(1) == snapshot(1, revision=2)


async def test_a_lease_that_ran_out_is_told_once_also_where_its_request_comes_again(
    store: AwaitedStore, clock: Clock
) -> None:
    """By that request, or else by what looks for such leases in the background."""
    claim = granted(await begin(store, begin_request("r-1")))
    clock.advance(LEASE_S)

    again = await begin(store, begin_request("r-1"))

    assert again.known
    assert granted(again).state is ClaimState.EXPIRED
    told = [*again.expired, *await store.expire(10)]
    assert [each.claim_id for each in told] == [claim.claim_id]


async def test_numbers_that_a_decision_lacks_stay_unknown(store: AwaitedStore) -> None:
    def without_numbers(state: StoredState) -> Decision:
        return replace(accept_all(state), total_notional="", least_req_ratio="")

    await begin(store, begin_request("r-1"), without_numbers)

    decision = (await begin(store, begin_request("r-1"))).decision

    assert (decision.total_notional, decision.least_req_ratio) == ("", "")
    assert decision.margin_ratio


@pytest.mark.parametrize(
    ("sent", "seen"), [(1, 2), (2, 2), (3, 3)], ids=["stale", "the same", "newer"]
)
async def test_the_rules_see_the_newest_snapshot_of_the_two(
    store: AwaitedStore, sent: int, seen: int
) -> None:
    await store.put([snapshot(1, revision=2)])
    stood: list[StoredState] = []

    def decide(state: StoredState) -> Decision:
        stood.append(state)
        return accept_all(state)

    begun = await begin(store, begin_request(None, snapshot(1, revision=sent)), decide)

    assert begun.state == stood[-1]
    assert stood[-1].liquidation == snapshot(1, revision=seen)
    assert granted(begun).liquidation_revision == seen


async def test_the_rules_see_what_was_settled_on_the_account_of_a_snapshot_sent(
    store: AwaitedStore,
) -> None:
    claim = granted(await begin(store))
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    sent = snapshot(9, revision=7, account_id="account-1")
    begun = await begin(store, begin_request(None, sent), refuse)

    assert begun.state is not None
    assert begun.state.last_completed_revision == 1


async def test_a_claim_in_process_is_told_before_what_else_is_against_another(
    store: AwaitedStore,
) -> None:
    claim = granted(await begin(store))

    def slot_first(state: StoredState) -> Decision:
        return accept(state) if state.active_claim else refuse(state)

    begun = await begin(store, begin_request(), slot_first)

    assert begun.claim is None
    assert begun.decision.refusal is not None
    assert begun.decision.refusal.values == {"claim_id": claim.claim_id}


async def test_the_rules_see_that_a_liquidator_is_in_liquidation_where_the_other_is_not_known(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(3, account_id="liquidator-1")])

    begun = await begin(store, begin_request(liquidation_id=99))

    assert begun.state == StoredState(liquidator_in_liquidation=True)


async def test_rules_that_fail_do_so_for_the_caller_whose_request_it_is_alone(
    store: AwaitedStore,
) -> None:
    failure = LookupError("no such rule")

    def fail(_: StoredState) -> Decision:
        raise failure

    one, other = await asyncio.gather(
        begin(store, begin_request(liquidation_id=1), fail),
        begin(store, begin_request(liquidation_id=2)),
        return_exceptions=True,
    )

    assert one is failure
    assert not isinstance(other, BaseException)
    assert granted(other).account_id == "account-2"


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


async def test_only_the_lease_of_the_account_is_in_the_way_of_a_claim(
    store: AwaitedStore, clock: Clock
) -> None:
    others = granted(await begin(store, begin_request(liquidation_id=2)))
    own = granted(await begin(store))
    clock.advance(LEASE_S)

    begun = await begin(store, None, accept_all)

    assert granted(begun).account_id == "account-1"
    assert [each.claim_id for each in begun.expired] == [own.claim_id]
    assert [each.claim_id for each in await store.expire(10)] == [others.claim_id]


@pytest.mark.parametrize("end", ["complete", "cancel", "expire"])
async def test_the_history_tells_what_happened_when_and_why(
    store: AwaitedStore, clock: Clock, end: str
) -> None:
    claim = granted(await begin(store))
    began = ClaimEvent("begin", claim.begin_us, claim.expire_us)
    clock.advance(10)
    await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)
    renewed_us = clock.wall_us()
    lease_end_us = renewed_us + 60_000_000
    renewed = ClaimEvent("renew", renewed_us, lease_end_us)
    clock.advance(60 if end == "expire" else 10)

    if end == "expire":
        await store.expire(1)
        ended = ClaimEvent("expire", lease_end_us, lease_end_us, LEASE_RAN_OUT)
    else:
        state = ClaimState.COMPLETED if end == "complete" else ClaimState.CANCELLED
        await store.end(claim.claim_id, claim.fencing_token, state, "why")
        ended = ClaimEvent(end, clock.wall_us(), lease_end_us, "why")

    assert await store.history(claim.claim_id) == [began, renewed, ended]


async def test_an_operator_needs_no_token_and_the_history_says_so(store: AwaitedStore) -> None:
    claim = granted(await begin(store))

    ended = await store.end(claim.claim_id, None, ClaimState.CANCELLED, "stuck")

    assert ended.applied
    history = await store.history(claim.claim_id)
    assert [(each.change, each.forced, each.reason) for each in history] == [
        ("begin", False, ""),
        ("cancel", True, "stuck"),
    ]


async def test_a_claim_is_told_with_its_history_as_both_are_at_one_moment(
    store: AwaitedStore,
) -> None:
    claim = granted(await begin(store))
    told = await store.record(claim_id=claim.claim_id)
    assert told is not None
    assert (told.claim, [each.change for each in told.history]) == (claim, ["begin"])
    renewals = [
        store.renew(claim.claim_id, claim.fencing_token, 60_000_000 + each) for each in range(20)
    ]
    looks = [store.record(request_id=claim.request_id) for _ in range(20)]
    mixed = [each for pair in zip(renewals, looks, strict=True) for each in pair]

    for seen in (await asyncio.gather(*mixed))[1::2]:
        assert isinstance(seen, ClaimRecord)
        assert seen.history[-1].expire_us == seen.claim.expire_us


async def test_a_page_of_claims_ends_behind_the_one_with_which_it_is_large_enough(
    store: AwaitedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = []
    for _ in range(4):
        claim = granted(await begin(store))
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, "")
        claims.append(claim.claim_id)
    # What is claimed and the terms have some 150 bytes, in either engine's form.
    for bytes_, size, in_a_page in ((1, 10, 1), (200, 10, 2), (200, 1, 1), (100_000, 4, 4)):
        for room in (sqlite_pages, postgres_pages):
            monkeypatch.setattr(room, "MAX_PAGE_BYTES", bytes_)
        found: list[list[str]] = []
        below = None
        while below is not None or not found:
            page = await store.claims(ClaimFilter(), below, size)
            found.append([each.claim_id for each in page.claims])
            below = page.next_below
        assert {len(each) for each in found} == {in_a_page}, (bytes_, size)
        assert [each for page_ in found for each in page_] == claims[::-1]
