"""Numbers to draw requests from, as texts: counted in the smallest step that a caller can write."""

from random import Random
from typing import Final

from tests.attacks.oracle.drawing import HIGHEST, ONE, longer, written

__all__ = ["amount", "beside", "chance", "ratio"]

_SPECIAL: Final = (HIGHEST, 1, ONE, 10 * ONE, ONE // 10, 5000 * ONE, 10000 * ONE)
_RATIOS: Final = (ONE, ONE, ONE, ONE // 2, ONE - 1, 0, 1, ONE // 4, ONE // 1000)


def chance(random: Random, one_in: int) -> bool:
    """True once in so many times."""
    return random.randrange(one_in) == 0


def beside(random: Random, steps: int) -> str:
    """A number, or the smallest step to one side of it; now and then in a longer spelling."""
    text = written(steps + random.choice((0, 0, 0, 1, -1)))
    return longer(random, text) if chance(random, 6) else text


def amount(random: Random) -> int:
    """A number above zero; most are short, some as long as a number can be."""
    if chance(random, 8):
        return random.choice(_SPECIAL)
    decimals = random.choice((0, 0, 1, 4, 18)) if chance(random, 3) else random.choice((0, 1, 2))
    digits = random.choice((1, 3, 5, 18)) if chance(random, 4) else random.choice((1, 3))
    step: int = 10 ** (18 - decimals)
    return random.randint(1, 10 ** min(36, digits + decimals) - 1) * step


def ratio(random: Random) -> int:
    """A ratio from 0 to 1, both inclusive."""
    if random.randrange(4):
        return random.choice(_RATIOS)
    return random.randint(0, 1000) * ONE // 1000 if random.randrange(3) else random.randint(0, ONE)
