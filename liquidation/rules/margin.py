"""Margin ratios of an account, and what a liquidator's account needs after a claim.

Source of the formulas: the exchange's formulas page. With notional_i = |qty_i × mark_price_i|:

    margin_ratio = collateral_value / Σ notional_i
    MMR_i        = max(base_mmr, base_mmr / base_imr × imr_factor × notional_i^(4/5))
    MMR          = Σ (notional_i × MMR_i) / Σ notional_i
    IMR_i        = max(1 / max_leverage, base_imr, imr_factor × notional_i^(4/5))

All of it is exact, but for the 4/5 power, which has 50 significant digits.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from liquidation.rules.model import MarginAccount, MarginPosition
from liquidation.rules.numbers import EXACT, ONE, ZERO, four_fifths_power, product, total


def margin_ratios(account: MarginAccount) -> tuple[Fraction, Fraction]:
    """The margin ratio and the maintenance margin ratio of `account`.

    Every position has a `base_mmr` above zero, and at least one a quantity that is not zero.
    """
    notionals = [_notional(position, position.position_qty) for position in account.positions]
    whole = Fraction(total(notionals))
    maintenance = sum(
        (
            Fraction(notional) * _maintenance_ratio(position, notional)
            for position, notional in zip(account.positions, notionals, strict=True)
        ),
        start=Fraction(0),
    )
    return Fraction(account.collateral_value) / whole, maintenance / whole


def _maintenance_ratio(position: MarginPosition, notional: Decimal) -> Fraction:
    base_mmr = Fraction(position.base_mmr or ZERO)
    by_size = product(position.imr_factor, four_fifths_power(notional))
    # base_mmr / base_imr × by_size exceeds base_mmr exactly where by_size exceeds base_imr.
    if by_size <= position.base_imr:
        return base_mmr
    return base_mmr * Fraction(by_size) / Fraction(position.base_imr)


class InitialMargin:
    """The initial margin that an account needs, Σ notional_i × IMR_i, and whether it has it.

    Both sides are kept multiplied by `max_leverage`, so that 1 / max_leverage never enters.
    """

    __slots__ = ("_collateral", "_leverage", "_required")

    def __init__(self, required: Decimal, collateral: Decimal, leverage: Decimal) -> None:
        self._required = required
        self._collateral = collateral
        self._leverage = leverage

    @property
    def sufficient(self) -> bool:
        """Whether the collateral is at least what is needed."""
        return self._required <= product(self._collateral, self._leverage)

    @property
    def required(self) -> Fraction:
        """What is needed, in USDC; only to be shown."""
        return Fraction(self._required) / Fraction(self._leverage)


def initial_margin_after(account: MarginAccount, taken: Mapping[str, Decimal]) -> InitialMargin:
    """What `account` needs after it took the signed quantities `taken`, by symbol, at mark price.

    Taking at mark price leaves the collateral as it is. `taken` names symbols of the account only;
    `max_leverage` is not None.
    """
    leverage = account.max_leverage or ONE
    terms = []
    for position in account.positions:
        quantity = EXACT.add(position.position_qty, taken.get(position.symbol, ZERO))
        notional = _notional(position, quantity)
        ratio = max(position.base_imr, product(position.imr_factor, four_fifths_power(notional)))
        terms.append(product(notional, max(ONE, product(leverage, ratio))))
    return InitialMargin(total(terms), account.collateral_value, leverage)


def _notional(position: MarginPosition, quantity: Decimal) -> Decimal:
    return product(quantity, position.mark_price).copy_abs()
