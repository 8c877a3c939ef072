"""Margin: numbers that can be checked by hand, and laws that hold for all of them."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.margin import initial_margin_after, margin_ratios
from liquidation.rules.model import MarginAccount
from liquidation.rules.numbers import plain
from tests import samples
from tests.attacks.oracle import margins
from tests.unit.deciding import request_of, stored
from tests.unit.drawing import LARGEST, SMALLEST, margin_accounts, signed
from tests.unit.seeded import seeded

Json = dict[str, Any]

A, B = "PERP_A_USDC", "PERP_B_USDC"


def _account(json: Json) -> MarginAccount:
    account = stored(
        samples.low(account=json, margin_ratio="", maintenance_margin_ratio="")
    ).account
    assert account is not None
    return account


def _liquidators_account(json: Json) -> MarginAccount:
    liquidator = {"liquidator_id": "liquidator-1", "account": json}
    parsed = request_of(samples.low_request(liquidator=liquidator))
    assert parsed.liquidator is not None, parsed.violations
    return parsed.liquidator.account


def _one(
    quantity: str, factor: str, collateral: str = "1000", price: str = "1", **others: str
) -> Json:
    return {
        "collateral_value": collateral,
        "positions": [
            samples.margin_position(
                A, position_qty=quantity, mark_price=price, imr_factor=factor, **others
            )
        ],
    }


def test_the_margin_ratio_is_collateral_over_all_notionals_longs_and_shorts() -> None:
    account: Json = _one("10", "0", "300", price="500")
    account["positions"].append(samples.margin_position(B, position_qty="-5", mark_price="1000"))

    assert margin_ratios(_account(account))[0] == Fraction(3, 100)


@pytest.mark.parametrize(
    ("factor", "maintenance"),
    [
        pytest.param("0", "0.012", id="without a factor it is base_mmr"),
        # 100000^(4/5) = 10000, so the size-dependent IMR is 10000 × factor; base_imr is 0.02.
        pytest.param("0.000001", "0.012", id="below base_imr it is base_mmr"),
        pytest.param("0.000002", "0.012", id="at base_imr it is base_mmr"),
        pytest.param("0.00001", "0.06", id="above base_imr it grows in proportion"),
    ],
)
def test_the_maintenance_ratio_of_one_position(factor: str, maintenance: str) -> None:
    account = _account(_one("-100000", factor))

    assert plain(margin_ratios(account)[1]) == maintenance


def test_the_maintenance_ratio_is_weighted_by_notional() -> None:
    account: Json = _one("300", "0")
    account["positions"].append(
        samples.margin_position(B, position_qty="-100", base_mmr="0.1", imr_factor="0")
    )

    # (300 × 0.012 + 100 × 0.1) / 400
    assert margin_ratios(_account(account))[1] == Fraction("0.034")


def test_a_position_without_quantity_counts_for_nothing() -> None:
    account: Json = _one("300", "0")
    alone = margin_ratios(_account(account))
    account["positions"].append(samples.margin_position(B, position_qty="0", base_mmr="1"))

    assert margin_ratios(_account(account)) == alone


def test_negative_collateral_gives_a_negative_margin_ratio() -> None:
    assert margin_ratios(_account(_one("100", "0", "-5")))[0] == Fraction(-1, 20)


@seeded(60)
@given(margin_accounts())
def test_the_ratios_are_those_of_the_formulas_to_the_last_digit(json: Json) -> None:
    whole = sum(
        abs(Fraction(each["position_qty"]) * Fraction(each["mark_price"]))
        for each in json["positions"]
    )

    assert margin_ratios(_account(json)) == (
        Fraction(json["collateral_value"]) / whole,
        margins.maintenance_margin(json) / whole,
    )


def _mirrored(quantity: str) -> str:
    return quantity.removeprefix("-") if quantity.startswith("-") else f"-{quantity}"


@seeded(60)
@given(margin_accounts())
def test_longs_and_shorts_need_the_same_margin(json: Json) -> None:
    mirrored = json | {
        "positions": [
            each | {"position_qty": _mirrored(each["position_qty"])} for each in json["positions"]
        ]
    }

    assert margin_ratios(_account(json)) == margin_ratios(_account(mirrored))


def _after(json: Json, leverage: str = "10", **taken: str) -> Any:
    account = _liquidators_account(json | {"max_leverage": leverage})
    return initial_margin_after(
        account, {f"PERP_{name}_USDC": Decimal(quantity) for name, quantity in taken.items()}
    )


@pytest.mark.parametrize(
    ("leverage", "base_imr", "factor", "required"),
    [
        pytest.param("10", "0.02", "0", "10000", id="1 / max_leverage is the largest"),
        pytest.param("10", "0.2", "0", "20000", id="base_imr is the largest"),
        pytest.param("10", "0.02", "0.00003", "30000", id="the size-dependent part is the largest"),
        pytest.param("3", "0.02", "0", "33333.333333333333333333", id="a third does not end"),
        pytest.param("0.5", "0.02", "0", "200000", id="a leverage below one"),
    ],
)
def test_the_initial_margin_of_one_position_of_100000(
    leverage: str, base_imr: str, factor: str, required: str
) -> None:
    margin = _after(_one("100000", factor, base_imr=base_imr), leverage)

    assert plain(margin.required) == required


@pytest.mark.parametrize(
    ("taken", "required"),
    [("400", "100"), ("-600", "0"), ("-1200", "60"), ("-600.5", "0.05")],
    ids=["more of the same side", "all of it", "through zero to the other side", "just through"],
)
def test_what_is_taken_counts_with_its_sign(taken: str, required: str) -> None:
    assert plain(_after(_one("600", "0"), A=taken).required) == required


@pytest.mark.parametrize(
    ("collateral", "sufficient"),
    [("33.333333333333333333", False), ("33.333333333333333334", True)],
)
def test_a_margin_that_does_not_end_is_compared_exactly(collateral: str, sufficient: bool) -> None:
    assert _after(_one("100", "0", collateral), "3").sufficient is sufficient


def test_an_account_without_positions_needs_nothing() -> None:
    empty: Json = {"collateral_value": "0", "positions": []}

    assert _after(empty).required == 0
    assert _after(empty).sufficient


def test_the_largest_numbers_lose_no_digit() -> None:
    largest = _one(LARGEST, LARGEST, LARGEST, LARGEST, base_imr=LARGEST)
    smallest = _one(SMALLEST, SMALLEST, SMALLEST, SMALLEST, base_imr=SMALLEST)

    for json, leverage in ((largest, LARGEST), (smallest, SMALLEST)):
        required = margins.initial_margin(json | {"max_leverage": leverage}, {})
        assert _after(json, leverage).required == required


@seeded(60)
@given(margin_accounts(of_liquidator=True), st.one_of(st.just("0"), signed()))
def test_the_initial_margin_is_that_of_the_formula_to_the_last_digit(
    json: Json, taken: str
) -> None:
    account = _liquidators_account(json)
    symbol = json["positions"][0]["symbol"]
    required = margins.initial_margin(json, {symbol: Fraction(taken)})
    margin = initial_margin_after(account, {symbol: Decimal(taken)})

    assert margin.required == required
    assert margin.sufficient is (required <= Fraction(json["collateral_value"]))


@seeded(60)
@given(margin_accounts(of_liquidator=True))
def test_taking_more_of_the_same_side_never_needs_less(json: Json) -> None:
    account = _liquidators_account(json)
    first = account.positions[0]
    now = initial_margin_after(account, {})
    more = initial_margin_after(account, {first.symbol: first.position_qty})

    assert more.required >= now.required
