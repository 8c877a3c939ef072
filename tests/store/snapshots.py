"""Snapshots to put into a store."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from liquidation.rules.margin import margin_ratios
from liquidation.rules.model import Liquidation, MarginAccount, MarginPosition, Position, Tier

PLAIN = Liquidation(
    liquidation_id=1,
    account_id="account-1",
    tier=Tier.LOW,
    positions=(
        Position("PERP_BTC_USDC", Decimal("0.000000000000000001"), Decimal(999999999999999999)),
        Position("PERP_ETH_USDC", Decimal("-12.5"), Decimal("2500.25")),
    ),
    margin_ratio=Decimal("-0.01"),
    maintenance_margin_ratio=Decimal("0.012"),
    revision=1,
    snapshot_time_ns=1_800_000_000_123_456_789,
)


def snapshot(liquidation_id: int = 1, revision: int = 1, **changes: Any) -> Liquidation:
    """A snapshot like PLAIN."""
    return replace(PLAIN, liquidation_id=liquidation_id, revision=revision, **changes)


def with_account() -> Liquidation:
    """A snapshot whose ratios are computed from its account, and do not end."""
    account = MarginAccount(
        Decimal(100),
        (
            MarginPosition(
                "PERP_BTC_USDC",
                Decimal(7),
                Decimal(3),
                Decimal("0.012"),
                Decimal("0.02"),
                Decimal("0.01"),
            ),
            MarginPosition(
                "PERP_SOL_USDC",
                Decimal(-9),
                Decimal("1.1"),
                Decimal("0.03"),
                Decimal("0.07"),
                Decimal(0),
            ),
        ),
        None,
    )
    margin, maintenance = margin_ratios(account)
    return replace(
        PLAIN, account=account, margin_ratio=margin, maintenance_margin_ratio=maintenance
    )
