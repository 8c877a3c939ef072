"""What a caller is told of each violation: where it is, and what would be right there."""

from typing import Any

import pytest

from liquidation.rules.model import ClaimRequest, FieldViolation
from liquidation.rules.parse import FieldViolations, parse_liquidation, parse_request
from tests import samples
from tests.unit.deciding import request_of

Json = dict[str, Any]

DECIMAL = "must be a decimal of up to 18 digits on each side of the point, such as 12.5"
REQUIRED = "is required"
ABOVE_ZERO = "must be above zero"
ID = "must be 1 to 128 printable ASCII characters"
TWICE = "names a symbol twice"
TOO_MANY = "must have at most 256 entries"
AT_LEAST_ONE = "must have at least one entry"
BESIDE_ACCOUNT = "must not stand beside account"

SOL_TWICE = [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": "1"}] * 2


def _account(**position: str) -> Json:
    return {
        "margin_ratio": "",
        "maintenance_margin_ratio": "",
        "account": {
            "collateral_value": "1",
            "positions": [samples.margin_position("PERP_BTC_USDC") | position],
        },
    }


TOLD: dict[str, tuple[Json, str, str]] = {
    "terms of no liquidation": (
        {"terms": samples.low_terms(liquidation_id=0)}, "terms.liquidation_id", ABOVE_ZERO),
    "terms of another liquidation": (
        samples.low_request({"liquidation_id": 9}),
        "terms.liquidation_id", "must be that of the liquidation in the request"),
    "no liquidator": (samples.low_request({"liquidator_id": ""}), "terms.liquidator_id", ID),
    "no ratio": (
        samples.low_request({"ratio_qty_request": ""}), "terms.ratio_qty_request", REQUIRED),
    "a ratio in words": (
        samples.low_request({"ratio_qty_request": "all"}), "terms.ratio_qty_request", DECIMAL),
    "an extra ratio in words": (
        samples.low_request({"extra_liquidation_ratio": "x"}),
        "terms.extra_liquidation_ratio", DECIMAL),
    "a limit for no symbol": (
        samples.low_request({"limit_price": {"": "1"}}), "terms.limit_price", ID),
    "an empty limit": (
        samples.low_request({"limit_price": {"PERP_BTC_USDC": ""}}),
        "terms.limit_price", REQUIRED),
    "257 limits": (
        samples.low_request({"limit_price": {f"S{n}": "1" for n in range(257)}}),
        "terms.limit_price", TOO_MANY),
    "symbols beside a ratio": (
        samples.high_request({"ratio_qty_request": "1"}),
        "terms.ratio_qty_request", "must not stand beside symbols"),
    "a symbol twice": (samples.high_request({"symbols": SOL_TWICE}), "terms.symbols", TWICE),
    "a symbol without name": (
        samples.high_request({"symbols": [{"symbol": "", "ratio_qty_request": "1"}]}),
        "terms.symbols[0].symbol", ID),
    "a symbol without ratio": (
        samples.high_request({"symbols": [{"symbol": "PERP_SOL_USDC"}]}),
        "terms.symbols[0].ratio_qty_request", REQUIRED),
    "257 symbols": (
        samples.high_request({"symbols": SOL_TWICE[:1] * 257}), "terms.symbols", TOO_MANY),
    "no liquidated account": (
        samples.low_request(liquidation={"account_id": ""}), "liquidation.account_id", ID),
    "no tier": (
        samples.low_request(liquidation={"tier": "TIER_UNSPECIFIED"}),
        "liquidation.tier", "must be TIER_LOW or TIER_HIGH"),
    "revision zero": (
        samples.low_request(liquidation={"revision": 0}),
        "liquidation.revision", "must be 1 or more"),
    "no position": (
        samples.high_request(liquidation={"positions": []}), "liquidation.positions", AT_LEAST_ONE),
    "257 positions": (
        samples.low_request(liquidation={"positions": [
            {"symbol": f"S{n}", "position_qty": "1", "mark_price": "1"} for n in range(257)]}),
        "liquidation.positions", TOO_MANY),
    "a position of nothing": (
        samples.low_request(liquidation={"positions": [
            {"symbol": "PERP_BTC_USDC", "position_qty": "0", "mark_price": "1"}]}),
        "liquidation.positions[0].position_qty", "must not be zero"),
    "a price of nothing": (
        samples.low_request(liquidation={"positions": [
            {"symbol": "PERP_BTC_USDC", "position_qty": "1", "mark_price": "0"}]}),
        "liquidation.positions[0].mark_price", ABOVE_ZERO),
    "no margin ratio": (
        samples.low_request(liquidation={"margin_ratio": ""}),
        "liquidation.margin_ratio", REQUIRED),
    "a maintenance margin ratio of zero": (
        samples.low_request(liquidation={"maintenance_margin_ratio": "0"}),
        "liquidation.maintenance_margin_ratio", ABOVE_ZERO),
    "a margin ratio beside an account": (
        samples.low_request(liquidation=_account(position_qty="1") | {"margin_ratio": "1"}),
        "liquidation.margin_ratio", BESIDE_ACCOUNT),
    "an account of zeros": (
        samples.low_request(liquidation=_account(position_qty="0")),
        "liquidation.account.positions", "must have a position that is not zero"),
    "a negative factor": (
        samples.low_request(liquidation=_account(position_qty="1", imr_factor="-1")),
        "liquidation.account.positions[0].imr_factor", "must be zero or more"),
    "a position without base_mmr": (
        samples.low_request(liquidation=_account(position_qty="1", base_mmr="")),
        "liquidation.account.positions[0].base_mmr", REQUIRED),
    "the account of another": (
        samples.low_request(liquidator=samples.liquidator() | {"liquidator_id": "liquidator-2"}),
        "liquidator.liquidator_id", "must be that of the terms"),
    "a liquidator without account": (
        samples.low_request(liquidator={"liquidator_id": "liquidator-1"}),
        "liquidator.account", REQUIRED),
    "a liquidator without leverage": (
        samples.low_request(liquidator=samples.liquidator(max_leverage="")),
        "liquidator.account.max_leverage", REQUIRED),
    "257 margin positions": (
        samples.low_request(liquidator=samples.liquidator(
            positions=[samples.margin_position(f"S{n}") for n in range(257)])),
        "liquidator.account.positions", TOO_MANY),
    "a margin position without name": (
        samples.low_request(liquidation=_account(position_qty="1", symbol="")),
        "liquidation.account.positions[0].symbol", ID),
    "a margin position twice": (
        samples.low_request(liquidator=samples.liquidator(
            positions=[samples.margin_position("PERP_BTC_USDC")] * 2)),
        "liquidator.account.positions", TWICE),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "field", "words"), TOLD.values(), ids=TOLD.keys())
def test_one_violation_is_told_with_what_would_be_right(
    request_: Json, field: str, words: str
) -> None:
    assert request_of(request_) == ClaimRequest(violations=(FieldViolation(field, words),))


def test_more_margin_positions_of_the_liquidated_account_than_are_read_are_told_first() -> None:
    sent = _account(position_qty="1")
    sent["account"]["positions"] *= 257

    violations = request_of(samples.low_request(liquidation=sent)).violations

    assert violations[0] == FieldViolation("liquidation.account.positions", TOO_MANY)


def test_a_snapshot_of_no_liquidation_is_told() -> None:
    message = samples.snapshot(samples.low(liquidation_id=0))

    assert parse_liquidation(message, "sent") == (
        FieldViolation("sent.liquidation_id", ABOVE_ZERO),
    )


def test_a_time_outside_of_the_calendar_is_told_with_what_would_be_inside() -> None:
    message = samples.check(samples.low_request())
    message.liquidation.snapshot_time.nanos = -1

    assert parse_request(message).violations == (
        FieldViolation("liquidation.snapshot_time", "must be a time of the years 1 to 9999"),
    )


def test_256_entries_are_not_too_many() -> None:
    limits = {f"S{n}": "1" for n in range(256)}
    positions = [{"symbol": f"S{n}", "position_qty": "1", "mark_price": "1"} for n in range(256)]
    account = samples.liquidator(positions=[samples.margin_position(f"S{n}") for n in range(256)])

    assert not request_of(
        samples.low_request({"limit_price": limits}, {"positions": positions}, liquidator=account)
    ).violations


def test_all_violations_are_counted_and_the_first_eight_are_told() -> None:
    violations = FieldViolations()
    for number in range(10):
        violations.add(f"field{number}", "is wrong")

    assert violations.count == 10
    assert violations.found == [FieldViolation(f"field{number}", "is wrong") for number in range(8)]


@pytest.mark.parametrize("text", ["", "x" * 6, "é", "a\tb"])
def test_an_identifier_is_given_back_as_it_is_and_told_where_it_is_none(text: str) -> None:
    violations = FieldViolations()

    assert violations.identifier(text, "part", "name", longest=5) == text
    assert violations.identifier("x" * 5, "part", "name", longest=5) == "x" * 5
    assert violations.found == [
        FieldViolation("part.name", "must be 1 to 5 printable ASCII characters")
    ]


def test_a_number_that_is_none_counts_once_though_it_should_be_above_zero() -> None:
    violations = FieldViolations()

    assert violations.positive("x", "price") == 0
    assert violations.positive("-1", "price") == -1
    assert violations.positive("0.1", "price") > 0
    assert [each.description for each in violations.found] == [DECIMAL, ABOVE_ZERO]
