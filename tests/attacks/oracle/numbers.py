"""Numbers as fractions: how they are written, shown and rounded. Nothing of the service."""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache


def is_decimal(text: str) -> bool:
    """Whether `text` is a number of the form that the contract allows."""
    return bool(re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text, re.ASCII))


def is_zero(text: str) -> bool:
    """Whether a text holds no digit but zeros."""
    return re.search("[1-9]", text) is None


def is_positive(text: str) -> bool:
    """Whether `text` is a number above zero."""
    return is_decimal(text) and not is_zero(text) and not text.startswith("-")


@lru_cache(maxsize=4096)
def number(text: str) -> Fraction:
    """The number that a text of the allowed form stands for."""
    return Fraction(text)


@lru_cache(maxsize=4096)
def nearest_four_fifths_power(number: Fraction) -> Fraction:
    """number^(4/5) to the nearest number of 50 digits; of two equally near, the even one.

    The first guess has 60 digits. That it is the nearest is then shown by fifth powers.
    """
    if number == 0:
        return Fraction(0)
    wide = Context(prec=400)
    exact = wide.divide(Decimal(number.numerator), Decimal(number.denominator))
    guess = Context(prec=60).power(exact, Decimal("0.8"))
    guess = Context(prec=50, rounding=ROUND_HALF_EVEN).plus(guess)
    exponent = guess.adjusted() - 49
    unit = Fraction(10) ** exponent
    steps = int(Fraction(guess) / unit)
    target = number**4 / unit**5 * 32
    if (2 * steps - 1) ** 5 > target:
        steps -= 1
    elif (2 * steps + 1) ** 5 < target:
        steps += 1
    if (2 * steps + 1) ** 5 == target or (2 * steps - 1) ** 5 == target:
        steps += steps % 2 if (2 * steps + 1) ** 5 == target else -(steps % 2)
    return steps * unit


def four_digits_up(ratio: Fraction) -> Fraction:
    """`ratio`, from 0 to 1, rounded up to four significant digits."""
    if ratio == 0:
        return ratio
    # At most one power of ten too low, for the leading digits may be of any size.
    scale = max(0, len(str(ratio.denominator)) - len(str(ratio.numerator)) + 3)
    if ratio.numerator * 10**scale < 1000 * ratio.denominator:
        scale += 1
    return Fraction(-(-ratio.numerator * 10**scale // ratio.denominator), 10**scale)


def shown(number: Fraction) -> str:
    """A number as replies show it: all its decimals if it ends, else 18, half to even."""
    decimals = 0
    rest = number.denominator
    while rest % 10 == 0:
        rest, decimals = rest // 10, decimals + 1
    for prime in (2, 5):
        while rest % prime == 0:
            rest, decimals = rest // prime, decimals + 1
    if rest != 1:
        decimals = 18
    scaled = round(abs(number) * 10**decimals)
    digits = str(scaled).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    text = f"{whole}.{fraction}".rstrip("0").rstrip(".") if fraction else whole
    return f"-{text}" if number < 0 and scaled else text
