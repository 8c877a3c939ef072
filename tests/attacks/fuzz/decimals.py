"""Decimal texts: read as the contract says, and reckoned with as fractions are."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from liquidation.rules import numbers
from tests.attacks.fuzz.target import Look, Target

_ALLOWED: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_PLAIN: Final = re.compile(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
# Half a unit in the 50th digit of a power is at most this part of it; its fifth power is off by
# five times as much.
_OFF: Final = Fraction(5, 10**49)


@contextmanager
def _opened(_: Path) -> Iterator[Look]:
    yield _look


def _look(data: bytes) -> None:
    """Each line is a number, or is none; those that are get reckoned with, two by two."""
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    found = [number for text in texts if (number := _read(text)) is not None]
    for left, right in pairwise(found):
        _reckon(left, right)


def _read(text: str) -> Decimal | None:
    number = numbers.parse_decimal(text)
    allowed = _ALLOWED.fullmatch(text) is not None
    assert (number is not None) == allowed, f"{text!r} is read as {number}"
    if number is None:
        return None
    assert Fraction(number) == Fraction(text)
    shown = numbers.plain(number)
    assert _PLAIN.fullmatch(shown), shown
    assert numbers.parse_decimal(shown) == number, shown
    return number


def _reckon(left: Decimal, right: Decimal) -> None:
    first, second = Fraction(left), Fraction(right)
    product, total = numbers.product(left, right), numbers.total((left, right))
    assert Fraction(product) == first * second
    assert Fraction(total) == first + second
    assert numbers.at_least(left, right) == (first >= second)
    assert numbers.at_least(first, right) == (first >= second)
    for shown in map(numbers.plain, (product, total)):
        assert _PLAIN.fullmatch(shown), shown
    if second:
        quotient = first / second
        shown = numbers.plain(quotient)
        assert _PLAIN.fullmatch(shown), shown
        assert abs(Fraction(shown) - quotient) <= Fraction(1, 2 * 10**18)
    if first > 0 and second > 0:
        _least(left, right)
    if first >= 0:
        _power(left)


def _least(threshold: Decimal, notional: Decimal) -> None:
    """The least ratio reaches the threshold, and with one unit less it would not.

    Below the threshold it is the whole.
    """
    least = numbers.least_ratio(threshold, notional)
    if notional < threshold:
        assert least == 1
        return
    wanted = Fraction(threshold) / Fraction(notional)
    _, digits, exponent = least.as_tuple()
    assert isinstance(exponent, int)
    unit = Fraction(10) ** (exponent + len(digits) - 4)
    assert len(digits) <= 4
    assert wanted <= Fraction(least) < wanted + unit


def _power(number: Decimal) -> None:
    power = Fraction(numbers.four_fifths_power(number)) ** 5
    exact = Fraction(number) ** 4
    assert abs(power - exact) <= exact * _OFF


def _seeds() -> Iterable[bytes]:
    widest = "9" * 18 + "." + "9" * 18
    read = (
        "0",
        "1",
        "-0.0",
        "0.3334",
        "10000",
        "1.000",
        widest,
        "-" + widest,
        "0." + "0" * 17 + "1",
    )
    yield from (text.encode() for text in read)
    not_read = (
        "",
        "+1",
        "1e5",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
        ".5",
        "5.",
        "١",
        "1_0",
        "--1",
        "0x1",
    )
    yield from (text.encode() for text in not_read)
    yield from (f"{left}\n{right}".encode() for left in read for right in read[:4])


TARGET: Final = Target(
    _opened, _seeds, longest=160, words=(b"\n", b".", b"-", b"0", b"9" * 18, "٣".encode())
)
