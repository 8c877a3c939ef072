"""Asks whether a liquidator may claim a half, and a little less than a third, of an account.

    python examples/first_call.py

A server must run on 127.0.0.1:50051. The snapshot travels in the request, so nothing is stored.
"""

from liquidation.client import LiquidationClient, LiquidationRefused
from liquidation.values import ClaimTerms, Liquidation, Position, Tier

snapshot = Liquidation(
    liquidation_id=101,
    account_id="account-1",
    tier=Tier.LOW,
    positions=[Position("PERP_BTC_USDC", "0.5", "40000"), Position("PERP_ETH_USDC", "-4", "2500")],
    margin_ratio="0.008",
    maintenance_margin_ratio="0.012",
    revision=7,
)
with LiquidationClient("127.0.0.1:50051") as client:
    for ratio in ("0.5", "0.3333"):
        try:
            claim = client.check_claim(ClaimTerms(101, "liquidator-1", ratio), snapshot)
        except LiquidationRefused as refused:
            print(ratio, "is refused:", refused.code, refused.message)
        else:
            print(ratio, "is accepted:", claim.decision.total_notional, "USDC in total")
            for position in claim.positions:
                print(" ", position.symbol, position.qty, "worth", position.notional, "USDC")
