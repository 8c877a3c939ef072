"""Numbers to draw requests from, as texts: counted in the smallest step that a caller can write."""

from fractions import Fraction
from random import Random

ONE = 10**18
HIGHEST = 10**36 - 1
_SPECIAL = [HIGHEST, 1, ONE, 10 * ONE, ONE // 10, 5000 * ONE, 10000 * ONE]
_RATIOS = [ONE, ONE, ONE, ONE // 2, ONE - 1, 0, 1, ONE // 4, ONE // 1000]


def chance(random: Random, one_in: int) -> bool:
    """True once in so many times."""
    return random.randint(1, one_in) == 1


def units(number: Fraction) -> int:
    """`number` in steps, rounded down."""
    return number.numerator * ONE // number.denominator


def units_of(text: str) -> int:
    """A number of the allowed form in steps."""
    return units(Fraction(text))


def written(steps: int) -> str:
    """The nearest text that a caller can write: 18 decimals, and below 10^18."""
    bounded = max(-HIGHEST, min(steps, HIGHEST))
    whole, rest = divmod(abs(bounded), ONE)
    text = f"{whole}.{rest:018d}".rstrip("0") if rest else str(whole)
    return f"-{text}" if bounded < 0 else text


def beside(random: Random, steps: int) -> str:
    """A number, or the smallest step to one side of it; now and then in a longer spelling."""
    text = written(steps + random.randint(-1, 1))
    return longer(random, text) if random.randint(0, 7) == 0 else text


def longer(random: Random, text: str) -> str:
    """The same number with a zero that it does not need, or a sign that zero has no need of."""
    if text == "0":
        return random.choice(["-0", "0.0", "-0.000000000000000000", "000"])
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, rest = digits.partition(".")
    if len(rest) < 18 and random.randint(0, 1):
        return f"{sign}{whole}.{rest}0"
    return f"{sign}0{digits}" if len(whole) < 18 else text


def amount(random: Random) -> int:
    """A number above zero, of any length."""
    if random.randint(0, 7) == 0:
        return random.choice(_SPECIAL)
    decimals = random.choice([0, 1, 4, 18])
    digits = min(18, random.choice([1, 3, 5, 18])) + decimals
    step: int = 10 ** (18 - decimals)
    return random.randint(1, 10**digits - 1) * step


def signed(random: Random, steps: int) -> int:
    """A number with either sign."""
    return -steps if random.randint(0, 1) else steps


def ratio(random: Random) -> int:
    """A ratio from 0 to 1, both inclusive."""
    return random.choice(_RATIOS) if random.randint(0, 1) else random.randint(0, ONE)
