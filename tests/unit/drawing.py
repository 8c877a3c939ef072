"""Numbers and values to draw properties from: as a caller may write them, extremes included."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "LARGEST",
    "SMALLEST",
    "amounts",
    "liquidations",
    "margin_accounts",
    "notionals",
    "ratios",
    "signed",
]

LARGEST = "999999999999999999.999999999999999999"
SMALLEST = "0.000000000000000001"

_EXTREMES = st.sampled_from([LARGEST, SMALLEST, "1", "1.000", "0.1", "10000", "5000", "000001"])
_NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128)


def _text(number: int, decimals: int) -> str:
    whole, rest = divmod(number, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


@st.composite
def _drawn_amounts(draw: st.DrawFn) -> str:
    decimals = draw(st.integers(0, 18))
    digits = draw(st.integers(1, 18 + decimals))
    return _text(draw(st.integers(1, 10**digits - 1)), decimals)


def amounts() -> st.SearchStrategy[str]:
    """A decimal above zero, in any of the allowed lengths."""
    return st.one_of(_EXTREMES, _drawn_amounts())


def signed() -> st.SearchStrategy[str]:
    """A decimal that is not zero, of either sign."""
    return st.builds("{}{}".format, st.sampled_from(["", "-"]), amounts())


@st.composite
def ratios(draw: st.DrawFn) -> str:
    """A decimal from 0 to 1, both inclusive."""
    decimals = draw(st.integers(1, 18))
    return _text(draw(st.integers(0, 10**decimals)), decimals)


def notionals() -> st.SearchStrategy[Decimal]:
    """A product of a quantity and a price: up to 72 digits, as `four_fifths_power` is given."""
    return st.builds(
        lambda coefficient, decimals: Decimal(f"{coefficient}E-{decimals}"),
        st.integers(1, 10**72 - 1),
        st.integers(0, 36),
    )


@st.composite
def margin_accounts(draw: st.DrawFn, *, of_liquidator: bool = False) -> dict[str, Any]:
    """A margin account as protobuf JSON, with a position at least that is not zero."""
    count = draw(st.integers(1, 3))
    account: dict[str, Any] = {
        "collateral_value": draw(st.one_of(st.just("0"), signed())),
        "positions": [
            {
                "symbol": f"PERP_{index}_USDC",
                "position_qty": draw(signed() if index == 0 else st.one_of(st.just("0"), signed())),
                "mark_price": draw(amounts()),
                "base_mmr": draw(amounts()),
                "base_imr": draw(amounts()),
                "imr_factor": draw(st.one_of(st.just("0"), amounts())),
            }
            for index in range(count)
        ],
    }
    if of_liquidator or draw(st.booleans()):
        account["max_leverage"] = draw(amounts())
    return account


@st.composite
def liquidations(draw: st.DrawFn) -> dict[str, Any]:
    """A snapshot that is well formed, as protobuf JSON."""
    symbols = draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))
    snapshot: dict[str, Any] = {
        "liquidation_id": draw(st.integers(1, 2**63 - 1)),
        "account_id": draw(_NAMES),
        "tier": draw(st.sampled_from(["TIER_LOW", "TIER_HIGH"])),
        "positions": [
            {"symbol": symbol, "position_qty": draw(signed()), "mark_price": draw(amounts())}
            for symbol in symbols
        ],
        "revision": draw(st.integers(1, 2**63 - 1)),
    }
    if draw(st.booleans()):
        snapshot["account"] = draw(margin_accounts())
    else:
        snapshot["margin_ratio"] = draw(st.one_of(st.just("0"), signed()))
        snapshot["maintenance_margin_ratio"] = draw(amounts())
    return snapshot
