"""Exact numbers: how they are read, multiplied, added, compared and shown.

A quantity, a price and a ratio have up to 18 digits on each side of the point, so their product
has up to 108 digits. Python's default decimal context keeps 28 of them. Everything here runs in
`EXACT`, where an operation that would lose a digit raises instead.
"""

import re
from collections.abc import Iterable
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
)
from fractions import Fraction
from functools import lru_cache, reduce
from typing import Final

# Far above what any formula needs (a term of section "Margin" has about 250 digits): the precision
# is a ceiling, not a cost, and the traps prove that it is never reached.
EXACT: Final = Context(
    prec=2000,
    Emin=MIN_EMIN,
    Emax=MAX_EMAX,
    traps=[Inexact, Rounded, InvalidOperation, DivisionByZero, Overflow],
)

# The largest id and revision; inclusive.
MAX_INT64: Final = 2**63 - 1

ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)

# A ratio that was given is a Decimal; one that was computed may not end, so it is a Fraction.
Ratio = Decimal | Fraction

_DECIMAL: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?").fullmatch
_LONGEST: Final = len("-") + 18 + len(".") + 18
_FIFTY_DIGITS: Final = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX)
# Division of decimals is correctly rounded whatever the length of its operands.
_UP_TO_FOUR_DIGITS: Final = Context(prec=4, rounding=ROUND_UP, Emin=MIN_EMIN, Emax=MAX_EMAX)
_SHOWN_DECIMALS: Final = 18

# a × b, exactly.
product = EXACT.multiply


def total(values: Iterable[Decimal]) -> Decimal:
    """The sum of all values, exactly; 0 for none."""
    return reduce(EXACT.add, values, ZERO)


def parse_decimal(text: str) -> Decimal | None:
    """The number that `text` stands for, or None where it is not of the one allowed form.

    The form is `-?[0-9]{1,18}(\\.[0-9]{1,18})?`, ASCII only: no plus sign, exponent, space, NaN,
    `.5` or `5.`. Negative zero is zero.
    """
    return _parsed(text) if len(text) <= _LONGEST else None


# Prices, sizes and ratios come again and again: 0.1 µs for a text that is known, 0.4 µs for one
# that is not. All that is kept is short, so the memory is bounded too, at about 1 MiB.
@lru_cache(maxsize=4096)
def _parsed(text: str) -> Decimal | None:
    return None if _DECIMAL(text) is None else Decimal(text) or ZERO


# The same numbers are shown again and again: 0.15 µs for one that is known, else 0.5 µs.
@lru_cache(maxsize=4096)
def plain(number: Ratio) -> str:
    """`number` as text without exponent and without trailing zeros, such as "1" or "0.3334".

    A fraction that does not end is rounded to 18 decimals, half to even. That form is for showing;
    nothing is decided on it.
    """
    if not isinstance(number, Decimal):
        number = _as_decimal(number)
    text = str(number)
    # str() takes half the time of a format, and few numbers are so small that it gives an exponent.
    if "E" in text:
        text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def at_least(left: Ratio, right: Ratio) -> bool:
    """Whether left >= right, exactly: fractions are compared by cross-multiplication."""
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return left >= right
    return Fraction(left) >= Fraction(right)


def least_ratio(threshold: Decimal, notional: Decimal) -> Decimal:
    """The least ratio that passes: threshold / notional, rounded up to 4 significant digits.

    Rounded up, so that the ratio given times the notional always reaches the threshold; 1 if the
    notional, which is above zero, is below the threshold.
    """
    return ONE if notional < threshold else _UP_TO_FOUR_DIGITS.divide(threshold, notional)


def four_fifths_power(number: Decimal) -> Decimal:
    """number^(4/5) to 50 significant digits, half to even; `number` zero or above.

    Correctly rounded: the fifth root of number⁴ is taken in integers, and what it leaves over
    decides the last digit. Source: the size-dependent part of the exchange's margin formulas.
    """
    if not number:
        return ZERO
    _, digits, exponent = number.as_tuple()
    coefficient = int("".join(map(str, digits)))
    # Scaled by 10^shift the power has at least 53 digits, three more than are kept.
    shift = 52 - (4 * number.adjusted()) // 5
    scale = 4 * int(exponent) + 5 * shift
    radicand, left_over = divmod(coefficient**4 * 10 ** max(scale, 0), 10 ** max(-scale, 0))
    root = _fifth_root(radicand)
    inexact = bool(left_over) or root**5 != radicand
    # One digit more stands for all that follow, so that half and just above half differ.
    return _FIFTY_DIGITS.create_decimal((0, _digits(root * 10 + inexact), -shift - 1))


def _fifth_root(number: int) -> int:
    """The largest integer whose fifth power is not above `number` (Newton, from above)."""
    root = 1 << -(-number.bit_length() // 5)
    while True:
        step = (4 * root + number // root**4) // 5
        if step >= root:
            return root
        root = step


def _as_decimal(fraction: Fraction) -> Decimal:
    """`fraction` as a Decimal: exact where it ends, else rounded to 18 decimals."""
    rest, decimals = fraction.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        decimals = max(decimals, power)
    if rest != 1:
        decimals = _SHOWN_DECIMALS
    return Decimal(round(fraction * 10**decimals)).scaleb(-decimals, EXACT)


def _digits(number: int) -> tuple[int, ...]:
    return tuple(map(int, str(number)))
