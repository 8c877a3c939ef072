"""Begins a claim, transfers what it takes, renews its lease meanwhile, and completes it.

    python examples/claim_and_transfer.py [ADDRESS]

ADDRESS is that of a running server, by default 127.0.0.1:50051. The transfer is pretended. The
liquidation 505 stays stored there; each run puts a newer snapshot of it.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from liquidation.client import LiquidationCallFailed, LiquidationClient, LiquidationRefused
from liquidation.values import (
    Claim,
    ClaimedPosition,
    ClaimState,
    ClaimTerms,
    Liquidation,
    Position,
    Tier,
)

LEASE = timedelta(seconds=30)
# How often a call without an answer is sent, and how long to wait before the second time.
ATTEMPTS = 6
FIRST_PAUSE_S = 0.1

T = TypeVar("T")


class Positions:
    """Where positions are kept. It obeys no claim that a newer one has replaced."""

    def __init__(self) -> None:
        self._newest = 0

    def transfer(self, claim: Claim, position: ClaimedPosition) -> None:
        """Moves a position, if no claim with a greater token was here before."""
        if claim.fencing_token < self._newest:
            raise RuntimeError(f"claim {claim.claim_id} is over: a newer one was here")
        self._newest = claim.fencing_token
        print(f"  {position.symbol} {position.qty} transferred")


def main(address: str) -> None:
    """Is refused a claim that is too small, carries one out, and is refused the next."""
    positions = Positions()
    snapshot = Liquidation(
        liquidation_id=505,
        account_id="account-5",
        tier=Tier.LOW,
        positions=[
            Position("PERP_BTC_USDC", position_qty="0.5", mark_price="40000"),
            Position("PERP_ETH_USDC", position_qty="-4", mark_price="2500"),
        ],
        margin_ratio="0.008",
        maintenance_margin_ratio="0.012",
        revision=time.time_ns(),  # any number that grows with each snapshot of the account
    )
    with LiquidationClient(address) as client:
        for ratio in ("0.1", "0.5", "0.5"):
            terms = ClaimTerms(snapshot.liquidation_id, "liquidator-1", ratio)
            try:
                claim_and_transfer(client, positions, terms, snapshot)
            except LiquidationRefused as refused:
                print(f"refused: {refused}")
                print(f"  {advice(refused)}")


def claim_and_transfer(
    client: LiquidationClient, positions: Positions, terms: ClaimTerms, snapshot: Liquidation
) -> None:
    """Carries out one claim. A refusal is raised, and nothing may be transferred after it."""
    # Made once: with the same id a request that is sent again is the same claim.
    request_id = uuid4().hex
    claim = answered(lambda: client.begin_claim(request_id, terms, snapshot, lease_ttl=LEASE)).claim
    if claim.state is not ClaimState.ACTIVE:
        # The answer came so late that the lease had run out.
        raise RuntimeError(f"claim {claim.claim_id} is over: {claim.end_reason}")
    print(f"claimed {terms.ratio_qty_request} of liquidation {terms.liquidation_id}")
    for number, position in enumerate(claim.positions):
        if number > 0:
            answered(lambda: client.renew_claim(claim.claim_id, claim.fencing_token, LEASE))
            print("  lease renewed")
        positions.transfer(claim, position)
    answered(lambda: client.complete_claim(claim.claim_id, claim.fencing_token))
    print("completed")


def answered(call: Callable[[], T]) -> T:
    """What the service answers. Without an answer the same is asked again: that is always safe."""
    pause = FIRST_PAUSE_S
    for _ in range(ATTEMPTS - 1):
        try:
            return call()
        except LiquidationCallFailed as failed:
            print(f"no answer: {failed.grpc_code.name}", file=sys.stderr)
        except LiquidationRefused as refused:
            if refused.code != -1011:
                raise
            print(f"no answer of the store: {refused.code}", file=sys.stderr)
        time.sleep(pause)
        pause *= 2
    return call()


def advice(refused: LiquidationRefused) -> str:
    """What to do after a refusal."""
    if "last_completed_revision" in refused.metadata:
        return "the account was just taken from: put a newer snapshot of it, then ask again"
    if refused.code == -1201:
        return f"ask for {refused.metadata['least_req_ratio']} or more, as a new request"
    if refused.code == -1202:
        return "stop: the liquidation or the claim is over, so nothing may be transferred"
    if refused.retry_after is not None:
        return f"ask again in {refused.retry_after.total_seconds():.1f} s"
    return "fix the request"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
