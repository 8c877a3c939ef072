"""How long what is over is kept."""

from liquidation.rules.model import ClaimState
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore
from tests.store.claiming import begin, granted
from tests.store.snapshots import snapshot

RETENTION_US = 60_000_000


async def test_a_claim_is_kept_for_as_long_as_was_told_to_the_microsecond(
    store: AwaitedStore, clock: Clock
) -> None:
    await store.put([snapshot(1)])
    claim = granted(await begin(store))
    await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")

    clock.advance(RETENTION_US / 1_000_000)
    assert await store.purge(RETENTION_US, 10) == 0
    assert await store.claim(claim_id=claim.claim_id) is not None

    clock.advance(0.000001)
    assert await store.purge(RETENTION_US, 10) == 1
    assert await store.claim(claim_id=claim.claim_id) is None
