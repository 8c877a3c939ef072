"""What beginning a claim takes of a SQLite file: what is refused, or known, writes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from liquidation.rules.errors import MARGIN_IS_ENOUGH
from liquidation.rules.model import ClaimState, Decision, Refusal, StoredState
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore, awaited_sqlite
from tests.store.claiming import LEASE_S, accept, begin, begin_request, granted, refuse
from tests.store.snapshots import snapshot


@pytest.fixture
def commits() -> list[int]:
    """The sizes of the groups that were committed."""
    return []


@pytest.fixture
async def store(tmp_path: Path, commits: list[int]) -> AsyncIterator[AwaitedStore]:
    """A store that knows a liquidation."""
    store = awaited_sqlite(
        tmp_path / "store.db", Clock(), committed=lambda size, _: commits.append(size)
    )
    await store.put([snapshot(1)])
    commits.clear()
    yield store
    await store.aclose()


async def test_a_refusal_that_brings_no_news_writes_nothing(
    store: AwaitedStore, commits: list[int]
) -> None:
    request = begin_request()

    begun = await begin(store, request, refuse)

    assert (begun.claim, begun.decision_id) == (None, request.decision_id)
    assert commits == []


async def test_a_claim_in_process_is_told_without_a_write(
    store: AwaitedStore, commits: list[int]
) -> None:
    begun = await begin(store)
    first = granted(begun)
    assert begun.expired == ()
    commits.clear()

    begun = await begin(store, None, accept)

    assert begun.decision.refusal is not None
    assert begun.decision.refusal.values["claim_id"] == first.claim_id
    assert begun.decision.refusal.retry_after_s == LEASE_S
    assert commits == []


async def test_a_request_that_is_known_is_answered_without_a_write(
    store: AwaitedStore, commits: list[int]
) -> None:
    request = begin_request()
    first = await begin(store, request)
    commits.clear()

    again = await begin(store, request)

    assert again.known
    assert (again.claim, again.decision_id) == (first.claim, first.decision_id)
    assert commits == []


async def test_a_refused_snapshot_of_another_account_is_decided_on_that_account(
    store: AwaitedStore, commits: list[int]
) -> None:
    """What holds the account that a request speaks of is what it is refused for.

    By the writer the first time, which may have news to store, and without it from then on.
    """
    own = begin_request(None, snapshot(2, account_id="account-2"))
    held = granted(await begin(store, own))
    seen: list[StoredState] = []

    def look(state: StoredState) -> Decision:
        seen.append(state)
        return Decision(Refusal(MARGIN_IS_ENOUGH), "rules-1")

    await begin(store, begin_request(None, snapshot(1, account_id="account-2")), look)
    commits.clear()
    await begin(store, begin_request(None, snapshot(1, account_id="account-2")), look)

    assert [each.active_claim and each.active_claim.claim_id for each in seen] == (
        [held.claim_id] * 2
    )
    assert commits == []


async def test_within_a_write_too_what_was_settled_is_that_of_the_account_of_the_snapshot(
    store: AwaitedStore, commits: list[int]
) -> None:
    own = begin_request(None, snapshot(2, revision=5, account_id="account-2"))
    claim = granted(await begin(store, own))
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
    commits.clear()
    seen: list[StoredState] = []

    def look(state: StoredState) -> Decision:
        seen.append(state)
        return refuse(state)

    news = snapshot(1, revision=2, account_id="account-2")
    await begin(store, begin_request(None, news), look)

    assert commits == [1]
    assert {each.last_completed_revision for each in seen} == {5}
