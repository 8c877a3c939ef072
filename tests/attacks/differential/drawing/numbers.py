"""Numbers to draw requests from, as texts: counted in the smallest step that a caller can write."""

from decimal import Decimal, localcontext
from random import Random
from typing import Final

__all__ = ["HIGHEST", "ONE", "amount", "beside", "chance", "ratio", "signed", "steps_of", "written"]

ONE: Final = 10**18
HIGHEST: Final = 10**36 - 1
_SPECIAL: Final = (HIGHEST, 1, ONE, 10 * ONE, ONE // 10, 5000 * ONE, 10000 * ONE)
_RATIOS: Final = (ONE, ONE, ONE, ONE // 2, ONE - 1, 0, 1, ONE // 4, ONE // 1000)


def chance(random: Random, one_in: int) -> bool:
    """True once in so many times."""
    return random.randrange(one_in) == 0


def steps_of(text: str) -> int:
    """A number of the allowed form in steps."""
    with localcontext(prec=80):
        return int(Decimal(text) * ONE)


def written(steps: int) -> str:
    """The nearest text that a caller can write: 18 decimals, and below 10^18."""
    bounded = max(-HIGHEST, min(steps, HIGHEST))
    whole, rest = divmod(abs(bounded), ONE)
    text = f"{whole}.{rest:018d}".rstrip("0") if rest else str(whole)
    return f"-{text}" if bounded < 0 else text


def beside(random: Random, steps: int) -> str:
    """A number, or the smallest step to one side of it; now and then in a longer spelling."""
    text = written(steps + random.choice((0, 0, 0, 1, -1)))
    return _longer(random, text) if chance(random, 6) else text


def _longer(random: Random, text: str) -> str:
    """The same number with a zero that it does not need, or a sign that zero has no need of."""
    if text == "0":
        return random.choice(["-0", "0.0", "-0.000000000000000000", "000"])
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, rest = digits.partition(".")
    if len(rest) < 18 and random.randrange(2):
        return f"{sign}{whole}.{rest}0"
    return f"{sign}0{digits}" if len(whole) < 18 else text


def amount(random: Random) -> int:
    """A number above zero; most are short, some as long as a number can be."""
    if chance(random, 8):
        return random.choice(_SPECIAL)
    decimals = random.choice((0, 0, 1, 4, 18)) if chance(random, 3) else random.choice((0, 1, 2))
    digits = random.choice((1, 3, 5, 18)) if chance(random, 4) else random.choice((1, 3))
    step: int = 10 ** (18 - decimals)
    return random.randint(1, 10 ** min(36, digits + decimals) - 1) * step


def signed(random: Random, steps: int) -> int:
    """A number with either sign."""
    return -steps if random.randrange(2) else steps


def ratio(random: Random) -> int:
    """A ratio from 0 to 1, both inclusive."""
    if random.randrange(4):
        return random.choice(_RATIOS)
    return random.randint(0, 1000) * ONE // 1000 if random.randrange(3) else random.randint(0, ONE)
