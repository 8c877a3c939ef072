"""Asks for a claim with the typed client, then asks again with the least ratio that passes.

    python examples/check_claim.py [ADDRESS]

ADDRESS is that of a running server, by default 127.0.0.1:50051. The snapshot travels in the
request, so nothing has to be stored before.
"""

import sys

from liquidation.client import LiquidationClient, LiquidationRefused
from liquidation.values import ClaimTerms, Liquidation, Position, SymbolRatio, Tier

SNAPSHOT = Liquidation(
    liquidation_id=202,
    account_id="account-2",
    tier=Tier.HIGH,
    positions=[
        Position("PERP_SOL_USDC", position_qty="100", mark_price="200"),
        Position("PERP_DOGE_USDC", position_qty="-80000", mark_price="0.1"),
    ],
    margin_ratio="0.02",
    maintenance_margin_ratio="0.05",
    revision=3,
)


def main(address: str) -> None:
    """Is refused, shows why, and is accepted with the ratio that the refusal names."""
    with LiquidationClient(address) as client:
        ratios = {"PERP_SOL_USDC": "0.5", "PERP_DOGE_USDC": "0.5"}
        while True:
            terms = ClaimTerms(
                SNAPSHOT.liquidation_id,
                "liquidator-1",
                symbols=[SymbolRatio(symbol, ratio) for symbol, ratio in ratios.items()],
            )
            try:
                claim = client.check_claim(terms, SNAPSHOT)
            except LiquidationRefused as refused:
                if refused.code != -1201:
                    raise
                show(refused)
                ratios[refused.metadata["symbol"]] = refused.metadata["least_req_ratio"]
            else:
                break
        print(f"accepted: {claim.decision.total_notional} USDC on the requested symbols")
        for position in claim.positions:
            print(f"  {position.symbol} {position.qty} worth {position.notional} USDC")


def show(refused: LiquidationRefused) -> None:
    """Prints what a refusal of a ratio that is too small tells."""
    print(f"refused: {refused.code} {refused.name}: {refused.message}")
    print(f"  by the rule {refused.rule}, on {refused.metadata['symbol']}")
    print(f"  as REST: {refused.http_status} {refused.rest_payload()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
