"""Stores a liquidation, then asks for many claims on it over one stream.

    python examples/stream_claims.py [ADDRESS]

ADDRESS is that of a running server, by default 127.0.0.1:50051. The liquidation 303 stays stored
there; to put it again with the same revision changes nothing.
"""

import asyncio
import sys

from liquidation.client import AsyncLiquidationClient, LiquidationRefused
from liquidation.values import ClaimRequest, ClaimTerms, Liquidation, Position, Tier

SNAPSHOT = Liquidation(
    liquidation_id=303,
    account_id="account-3",
    tier=Tier.LOW,
    positions=[Position("PERP_BTC_USDC", position_qty="-1.5", mark_price="40000")],
    margin_ratio="0.009",
    maintenance_margin_ratio="0.012",
    revision=1,
)


async def main(address: str) -> None:
    """Prints one line an answer; a refusal is a value among them and does not end the stream."""
    async with AsyncLiquidationClient(address) as client:
        await client.put_liquidation(SNAPSHOT)
        requests = (
            (f"ratio {ratio}", ClaimRequest(ClaimTerms(303, "liquidator-1", ratio)))
            for ratio in ("0.1", "0.1667", "1", "1.5", "half")
        )
        async for correlation_id, answer in client.stream_check_claims(requests):
            if isinstance(answer, LiquidationRefused):
                print(f"{correlation_id}: {answer}")
            else:
                (position,) = answer.positions
                print(f"{correlation_id}: accepted, {position.qty} {position.symbol}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
