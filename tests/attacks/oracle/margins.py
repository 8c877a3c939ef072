"""Margins of an account by the formulas of the contract, as fractions. Nothing of the service."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tests.attacks.oracle.numbers import nearest_four_fifths_power, number

Json = Mapping[str, Any]


def notional(position: Json) -> Fraction:
    """|position_qty × mark_price| of a position."""
    return abs(number(position["position_qty"]) * number(position["mark_price"]))


def margin_ratios(liquidation: Json) -> tuple[Fraction, Fraction]:
    """The margin ratio and the maintenance margin ratio: as given, or of the account."""
    if (account := liquidation.get("account")) is None:
        given = liquidation["margin_ratio"], liquidation["maintenance_margin_ratio"]
        return number(given[0]), number(given[1])
    whole = sum(map(notional, account["positions"]), Fraction(0))
    return number(account["collateral_value"]) / whole, maintenance_margin(account) / whole


def maintenance_margin(account: Json) -> Fraction:
    """Σ |notional| × MMR of an account, in USDC."""
    margin = Fraction(0)
    for position in account["positions"]:
        base_mmr, base_imr = number(position["base_mmr"]), number(position["base_imr"])
        value = notional(position)
        power = nearest_four_fifths_power(value)
        by_size = base_mmr / base_imr * number(position["imr_factor"]) * power
        margin += value * max(base_mmr, by_size)
    return margin


def initial_margin(account: Json, taken: Mapping[str, Fraction]) -> Fraction:
    """Σ |notional| × IMR of an account in USDC, once it took the quantities of `taken`."""
    margin = Fraction(0)
    for position in account.get("positions", []):
        quantity = number(position["position_qty"]) + taken.get(position["symbol"], 0)
        value = abs(quantity * number(position["mark_price"]))
        power = nearest_four_fifths_power(value)
        margin += value * max(
            1 / number(account["max_leverage"]),
            number(position["base_imr"]),
            number(position["imr_factor"]) * power,
        )
    return margin
