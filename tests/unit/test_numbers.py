"""Numbers: read, rounded where that is allowed, and shown."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, getcontext, localcontext
from fractions import Fraction
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.numbers import (
    EXACT,
    MAX_INT64,
    at_least,
    four_fifths_power,
    least_ratio,
    parse_decimal,
    plain,
    product,
    total,
)
from tests.unit.drawing import LARGEST, SMALLEST, amounts, notionals, signed
from tests.unit.seeded import seeded

ALLOWED = [
    ("0", "0"),
    ("1", "1"),
    ("-1", "-1"),
    ("00012", "12"),
    ("1.000", "1"),
    ("0.10", "0.1"),
    ("-0.5", "-0.5"),
    ("-0", "0"),
    ("-0.000", "0"),
    ("999999999999999999", "999999999999999999"),
    (LARGEST, LARGEST),
    (f"-{LARGEST}", f"-{LARGEST}"),
    (SMALLEST, SMALLEST),
]

REFUSED = {
    "empty": "",
    "plus sign": "+1",
    "exponent": "1e3",
    "capital exponent": "1E3",
    "no whole part": ".5",
    "no decimals": "5.",
    "sign only": "-",
    "point only": ".",
    "two signs": "--1",
    "sign behind": "1-",
    "leading space": " 1",
    "trailing space": "1 ",
    "newline behind": "1\n",
    "carriage return behind": "1\r",
    "null byte behind": "1\0",
    "full-width digit": "１",
    "arabic digit": "٣",
    "superscript digit": "²",
    "not a number": "NaN",
    "infinity": "Infinity",
    "short infinity": "inf",
    "underscore": "1_000",
    "thousands comma": "1,000",
    "decimal comma": "0,5",
    "two points": "1.2.3",
    "hexadecimal": "0x10",
    "percent": "50%",
    "minus sign of typography": "−1",
    "nineteen whole digits": "1" * 19,
    "nineteen leading zeros": "0" * 19,
    "nineteen decimals": "0." + "1" * 19,
    "nineteen trailing zeros": "1." + "0" * 19,
}


@pytest.mark.parametrize(("text", "shown"), ALLOWED, ids=[text[:24] for text, _ in ALLOWED])
def test_a_decimal_of_the_allowed_form_is_read_digit_by_digit(text: str, shown: str) -> None:
    number = parse_decimal(text)

    assert number is not None
    assert plain(number) == shown


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_form_is_no_number(text: str) -> None:
    assert parse_decimal(text) is None


def test_negative_zero_is_read_as_zero_without_a_sign() -> None:
    number = parse_decimal("-0.0")

    assert number is not None
    assert not number.is_signed()


@seeded(400)
@given(st.text(st.sampled_from("0123456789-+.eE \n_１"), max_size=40))
def test_what_is_read_is_exactly_what_the_form_allows(text: str) -> None:
    body = text.removeprefix("-")
    parts = body.split(".")
    allowed = len(parts) <= 2 and all(
        1 <= len(part) <= 18 and set(part) <= set("0123456789") for part in parts
    )

    assert (parse_decimal(text) is not None) is allowed


@pytest.mark.parametrize(
    ("shown", "written"),
    [
        ("1", ("1", "1.0", "1.00", "10E-1")),
        ("10", ("10", "1E+1", "10.0", "100E-1")),
        ("0", ("0", "-0", "0E+7", "-0.000")),
        ("-0.5", ("-0.5", "-0.50", "-5E-1")),
        (LARGEST, (LARGEST, f"{LARGEST}00")),
    ],
)
def test_equal_numbers_are_shown_alike_whichever_was_shown_first(
    shown: str, written: tuple[str, ...]
) -> None:
    # What was shown is remembered by the number, and numbers of other exponents are equal to it.
    for first in written:
        plain.cache_clear()
        plain(Decimal(first))
        assert {plain(Decimal(text)) for text in written} == {shown}


def test_a_fraction_is_shown_as_the_decimal_that_it_is_equal_to() -> None:
    for number, shown in ((Fraction(1, 2), "0.5"), (Fraction(10), "10"), (Fraction(0), "0")):
        for first in (number, Decimal(shown)):
            plain.cache_clear()
            plain(first)
            assert plain(number) == plain(Decimal(shown)) == shown


@seeded(300)
@given(signed())
def test_a_number_that_is_shown_is_read_as_the_same_number(text: str) -> None:
    number = parse_decimal(text)

    assert number is not None
    assert Fraction(number) == Fraction(text)
    assert parse_decimal(plain(number)) == number


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-18"), SMALLEST),
        (Decimal("0.3334000"), "0.3334"),
        (Decimal(100), "100"),
        (Decimal("1200.00"), "1200"),
        (Decimal("0E-7"), "0"),
        (Decimal("-0"), "0"),
        (Decimal("-0.00"), "0"),
        (Decimal("-0.50"), "-0.5"),
        (Decimal("1E+120"), "1" + "0" * 120),
    ],
    ids=str,
)
def test_a_decimal_is_shown_without_exponent_trailing_zeros_or_negative_zero(
    number: Decimal, shown: str
) -> None:
    assert plain(number) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (Fraction(1, 3), "0.333333333333333333"),
        (Fraction(2, 3), "0.666666666666666667"),
        (Fraction(-2, 3), "-0.666666666666666667"),
        (Fraction(1, 7), "0.142857142857142857"),
        (Fraction(10**30, 3), "3" * 30 + ".333333333333333333"),
        (Fraction(1, 3 * 10**20), "0"),
        (Fraction(-1, 3 * 10**20), "0"),
        (Fraction(0), "0"),
        (Fraction(5), "5"),
        (Fraction(1, 4), "0.25"),
        (Fraction(1000), "1000"),
    ],
    ids=str,
)
def test_a_fraction_that_does_not_end_is_shown_with_18_decimals(
    fraction: Fraction, shown: str
) -> None:
    assert plain(fraction) == shown


def test_a_fraction_that_ends_is_shown_in_full() -> None:
    assert plain(Fraction(1, 2**40)) == f"{Decimal(1) / Decimal(2**40):f}"
    assert plain(Fraction(1, 5**25)) == f"0.{2**25:025d}"


@seeded(300)
@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
def test_a_shown_fraction_is_off_by_half_of_the_last_decimal_at_most(
    numerator: int, denominator: int
) -> None:
    fraction = Fraction(numerator, denominator)
    shown = plain(fraction)

    assert "e" not in shown.lower()
    assert abs(Fraction(shown) - fraction) <= Fraction(1, 2 * 10**18)


@pytest.mark.parametrize(
    ("threshold", "notional", "least"),
    [
        ("10000", "30000", "0.3334"),
        ("10000", "20000", "0.5"),
        ("10000", "10000", "1"),
        ("10000", "10000.000000000000000001", "1"),
        ("10000", "10001", "1"),
        ("10000", "10002", "0.9999"),
        ("9999.4", "10000", "1"),
        ("9999", "10000", "0.9999"),
        ("5000", "50003", "0.1"),
        ("5000", "49997", "0.1001"),
        ("10000", "100000001", "0.0001"),
        ("10000", "99999999", "0.0001001"),
        ("10000", "30000000000000", "0.0000000003334"),
        ("1", "3" + "0" * 35, "0." + "0" * 35 + "3334"),
        (SMALLEST, "7", "0.0000000000000000001429"),
        ("0", "5", "0"),
        ("10000", "9999.999999999999999999", "1"),
        (LARGEST, SMALLEST, "1"),
    ],
)
def test_the_least_ratio_is_rounded_up_to_four_significant_digits(
    threshold: str, notional: str, least: str
) -> None:
    assert plain(least_ratio(Decimal(threshold), Decimal(notional))) == least


def test_a_product_of_19999_99_and_more_rounds_the_half_up_to_the_next_ratio() -> None:
    notional = product(Decimal("20000.00000000002"), Decimal("0.999999999999999"))

    assert notional < 20000
    assert plain(least_ratio(Decimal(10000), notional)) == "0.5001"


@seeded(600)
@given(amounts(), amounts(), amounts())
def test_the_least_ratio_reaches_the_threshold_and_a_thousandth_less_does_not(
    threshold: str, quantity: str, price: str
) -> None:
    exact_threshold = Fraction(threshold)
    notional = Fraction(quantity) * Fraction(price)
    least = least_ratio(Decimal(threshold), product(Decimal(quantity), Decimal(price)))

    if notional < exact_threshold:
        assert least == 1
        return
    assert len(least.as_tuple().digits) <= 4
    assert Fraction(least) * notional >= exact_threshold
    # One step of the fourth digit less would not reach it.
    step = Fraction(10) ** (least.adjusted() - 3)
    assert (Fraction(least) - step) * notional < exact_threshold


FIFTH_POWERS = [
    ("1", "1"),
    ("32", "16"),
    ("243", "81"),
    ("100000", "10000"),
    ("10000000000", "100000000"),
    ("0.00001", "0.0001"),
    ("0.00243", "0.0081"),
    (f"{12345**5}", f"{12345**4}"),
    (f"{999999**5}", f"{999999**4}"),
    (f"{3**5}E-30", f"{3**4}E-24"),
]


@pytest.mark.parametrize(("number", "power"), FIFTH_POWERS, ids=[each[0] for each in FIFTH_POWERS])
def test_the_power_of_a_perfect_fifth_power_is_exact(number: str, power: str) -> None:
    assert four_fifths_power(Decimal(number)) == Decimal(power)


def test_the_power_of_zero_is_zero() -> None:
    assert four_fifths_power(Decimal("0.000")) == 0


def test_the_power_of_two_has_its_fifty_digits() -> None:
    # bc -l: scale=70; e(0.8 * l(2))
    assert str(four_fifths_power(Decimal(2))) == (
        "1.7411011265922482782725400349594921979582508486960"
    )


def _is_correctly_rounded(number: Fraction, power: Decimal) -> bool:
    """Whether `power` is the nearest of 50 digits: fifth powers of the midpoints tell."""
    exponent = power.adjusted() - 49
    coefficient = Fraction(power) / Fraction(10) ** exponent
    if coefficient.denominator != 1:
        return False
    unit = Fraction(10) ** exponent / 2
    below = ((2 * coefficient - 1) * unit) ** 5
    above = ((2 * coefficient + 1) * unit) ** 5
    return below <= number**4 <= above


@seeded(300)
@given(notionals())
def test_the_power_is_the_nearest_number_of_fifty_digits(number: Decimal) -> None:
    assert _is_correctly_rounded(Fraction(number), four_fifths_power(number))


@seeded(300)
@given(notionals())
def test_the_power_agrees_with_two_hundred_digits_rounded_half_to_even(number: Decimal) -> None:
    # 200 digits leave an exact power its zeros, so that rounding it again loses nothing.
    long = Context(prec=200).power(number, Decimal("0.8"))
    rounded = Context(prec=50, rounding=ROUND_HALF_EVEN).plus(long)

    assert four_fifths_power(number) == rounded


# Fourth powers of these have 51 digits, the last of them a 5: exactly in the middle of two numbers
# of 50 digits. Odd multiples of 5 from 10^12.5 to 10^12.75.
ROOTS_OF_MIDPOINTS = st.integers(316_227_766_017, 562_341_325_189).map(lambda n: 10 * n + 5)


@seeded(100)
@given(ROOTS_OF_MIDPOINTS, st.integers(-5, 0))
def test_half_to_even_decides_where_the_power_lies_in_the_middle(root: int, scale: int) -> None:
    middle = root**4
    assert len(str(middle)) == 51
    assert middle % 10 == 5

    power = four_fifths_power(Decimal(root**5).scaleb(5 * scale, EXACT))

    # The fourth power of a multiple of 5 ends in 0625, so the even neighbour is the one below.
    assert Fraction(power) == Fraction(middle - 5) * Fraction(10) ** (4 * scale)


@seeded(100)
@given(ROOTS_OF_MIDPOINTS)
def test_the_smallest_step_beside_the_middle_decides_the_last_digit(root: int) -> None:
    number = Decimal(root**5)
    step = Decimal("1E-36")

    assert four_fifths_power(EXACT.subtract(number, step)) == root**4 - 5
    assert four_fifths_power(EXACT.add(number, step)) == root**4 + 5


@seeded(200)
@given(st.tuples(notionals(), notionals()))
def test_the_power_grows_with_its_number(pair: tuple[Decimal, Decimal]) -> None:
    smaller, larger = sorted(pair)

    assert four_fifths_power(smaller) <= four_fifths_power(larger)


def test_a_product_of_three_largest_numbers_keeps_all_108_digits() -> None:
    largest = Decimal(LARGEST)
    cube = product(product(largest, largest), largest)

    assert Fraction(cube) == Fraction(LARGEST) ** 3
    assert len(cube.as_tuple().digits) == 108


def test_a_sum_keeps_the_smallest_step_beside_the_largest_number() -> None:
    numbers = [Decimal(LARGEST)] * 256 + [Decimal(SMALLEST)]

    assert Fraction(total(numbers)) == 256 * Fraction(LARGEST) + Fraction(SMALLEST)


def test_the_sum_of_nothing_is_zero() -> None:
    assert total([]) == 0


def test_an_operation_that_would_lose_a_digit_raises() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))


def test_the_context_of_the_caller_changes_nothing() -> None:
    with localcontext(Context(prec=3)):
        assert getcontext().prec == 3
        assert plain(product(Decimal("1.0001"), Decimal("1.0001"))) == "1.00020001"
        assert plain(total([Decimal("1000.5"), Decimal("0.0001")])) == "1000.5001"
        assert plain(Fraction(1, 3)) == "0.333333333333333333"
        assert plain(least_ratio(Decimal(10000), Decimal(30000))) == "0.3334"
        assert four_fifths_power(Decimal(32)) == 16
        assert parse_decimal(LARGEST) == Decimal(LARGEST)


@pytest.mark.parametrize(
    ("left", "right", "reached"),
    [
        (Decimal("0.5"), Decimal("0.50"), True),
        (Decimal("0.499999999999999999"), Decimal("0.5"), False),
        (Fraction(1, 3), Decimal("0.333333333333333333"), True),
        (Decimal("0.333333333333333333"), Fraction(1, 3), False),
        (Fraction(1, 3), Fraction(1, 3), True),
        (Fraction(1, 3), Fraction(1, 3) + Fraction(1, 10**60), False),
    ],
    ids=str,
)
def test_ratios_are_compared_exactly(
    left: Decimal | Fraction, right: Decimal | Fraction, reached: bool
) -> None:
    assert at_least(left, right) is reached


def test_what_is_left_over_behind_a_root_that_comes_out_even_decides_a_tie() -> None:
    # number⁴ is above root⁵ by less than anything that 53 digits of the power can tell.
    root, exponent = 2 * 10**52 + 500, 300
    fourth = root**5 * 10 ** (4 * exponent - 5 * 52)
    number = Decimal(isqrt(isqrt(fourth)) + 1).scaleb(-exponent, EXACT)

    assert four_fifths_power(number) == Decimal(root + 500).scaleb(-52, EXACT)


def test_the_largest_id_is_that_of_the_wire() -> None:
    assert MAX_INT64 == 9_223_372_036_854_775_807
