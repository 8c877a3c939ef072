"""Records: what is stored and logged is read again as it was, and can be sent again as it is."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.model import ClaimedPosition, Liquidation
from liquidation.rules.parse import parse_liquidation
from liquidation.rules.record import (
    claimed_positions_from_record,
    claimed_positions_record,
    liquidation_from_record,
    liquidation_record,
    liquidator_record,
    terms_from_record,
    terms_record,
)
from liquidation.v1 import liquidation_pb2
from tests import samples
from tests.unit.deciding import request_of, stored
from tests.unit.drawing import liquidations
from tests.unit.seeded import seeded

Json = dict[str, Any]

# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799


def _with_time(seconds: int, nanos: int) -> Liquidation:
    message = samples.snapshot(samples.low(snapshot_time=None))
    message.snapshot_time.seconds = seconds
    message.snapshot_time.nanos = nanos
    parsed = parse_liquidation(message, "liquidation")
    assert isinstance(parsed, Liquidation), parsed
    return parsed


@seeded(100)
@given(liquidations())
def test_a_snapshot_is_read_again_as_it_was(json_: Json) -> None:
    snapshot = stored(json_)
    as_text = json.dumps(liquidation_record(snapshot))

    assert liquidation_from_record(json.loads(as_text)) == snapshot


@seeded(60)
@given(liquidations())
def test_the_record_of_a_snapshot_can_be_sent_again_as_it_is(json_: Json) -> None:
    snapshot = stored(json_)
    sent_again = ParseDict(liquidation_record(snapshot), liquidation_pb2.Liquidation())

    assert parse_liquidation(sent_again, "liquidation") == snapshot


@seeded(60)
@given(liquidations())
def test_a_record_of_a_record_is_the_same_record(json_: Json) -> None:
    record = liquidation_record(stored(json_))

    assert liquidation_record(liquidation_from_record(record)) == record


@seeded(100)
@given(st.integers(FIRST_SECOND, LAST_SECOND), st.integers(0, 999_999_999))
def test_a_time_keeps_its_nanoseconds(seconds: int, nanos: int) -> None:
    snapshot = _with_time(seconds, nanos)

    assert snapshot.snapshot_time_ns == seconds * 10**9 + nanos
    assert liquidation_from_record(liquidation_record(snapshot)) == snapshot


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (0, 1, "1970-01-01T00:00:00.000000001Z"),
        (0, 500_000_000, "1970-01-01T00:00:00.500000000Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (1_795_248_000, 123_456_789, "2026-11-21T08:00:00.123456789Z"),
        (FIRST_SECOND, 0, "0001-01-01T00:00:00Z"),
        (LAST_SECOND, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_time_is_written_as_rfc_3339_in_utc(seconds: int, nanos: int, text: str) -> None:
    assert liquidation_record(_with_time(seconds, nanos))["snapshot_time"] == text


@pytest.mark.parametrize(
    ("decimals", "nanos"), [("", 0), (".5", 500_000_000), (".000001", 1000), (".25", 250_000_000)]
)
def test_a_time_is_read_with_fewer_than_nine_decimals_too(decimals: str, nanos: int) -> None:
    record = liquidation_record(_with_time(7, 1)) | {
        "snapshot_time": f"1970-01-01T00:00:07{decimals}Z"
    }

    assert liquidation_from_record(record).snapshot_time_ns == 7 * 10**9 + nanos


def test_a_whole_second_agrees_with_the_calendar() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    record = liquidation_record(_with_time(int(noon.timestamp()), 0))

    assert record["snapshot_time"] == "2026-11-20T12:00:00Z"


def test_a_snapshot_without_time_has_none_in_its_record() -> None:
    snapshot = stored(samples.high())

    assert snapshot.snapshot_time_ns is None
    assert "snapshot_time" not in liquidation_record(snapshot)


def test_the_record_of_a_snapshot_in_full() -> None:
    assert liquidation_record(stored(samples.low(margin_ratio="0.0080"))) == {
        "liquidation_id": "101",
        "account_id": "account-low",
        "tier": "TIER_LOW",
        "positions": [
            {"symbol": "PERP_BTC_USDC", "position_qty": "0.5", "mark_price": "40000"},
            {"symbol": "PERP_ETH_USDC", "position_qty": "-4", "mark_price": "2500"},
        ],
        "revision": "7",
        "margin_ratio": "0.008",
        "maintenance_margin_ratio": "0.012",
        "snapshot_time": "2026-11-20T08:00:00.123456789Z",
    }


def test_ratios_that_were_computed_are_left_out_and_computed_again() -> None:
    account = {
        "collateral_value": "100",
        "positions": [samples.margin_position("PERP_BTC_USDC", position_qty="-3")],
    }
    snapshot = stored(samples.low(account=account, margin_ratio="", maintenance_margin_ratio=""))
    record = liquidation_record(snapshot)

    assert "margin_ratio" not in record
    assert "maintenance_margin_ratio" not in record
    assert record["account"] == {
        "collateral_value": "100",
        "positions": [
            {
                "symbol": "PERP_BTC_USDC",
                "position_qty": "-3",
                "mark_price": "1",
                "base_mmr": "0.012",
                "base_imr": "0.02",
                "imr_factor": "0.0000002",
            }
        ],
    }
    assert liquidation_from_record(record).margin_ratio == snapshot.margin_ratio


def test_what_a_liquidator_s_position_has_not_is_left_out_of_its_record() -> None:
    position = samples.margin_position("PERP_BTC_USDC", base_mmr="")
    liquidator = request_of(
        samples.low_request(liquidator=samples.liquidator(positions=[position]))
    ).liquidator
    assert liquidator is not None

    assert liquidator_record(liquidator) == {
        "liquidator_id": "liquidator-1",
        "account": {
            "collateral_value": "100000",
            "positions": [
                {
                    "symbol": "PERP_BTC_USDC",
                    "position_qty": "0",
                    "mark_price": "1",
                    "base_imr": "0.02",
                    "imr_factor": "0.0000002",
                }
            ],
            "max_leverage": "10",
        },
    }


def test_the_record_of_terms_for_all_positions() -> None:
    terms = request_of(
        samples.low_request({"limit_price": {"PERP_BTC_USDC": "50000.0"}}),
    ).terms
    assert terms is not None

    assert terms_record(terms) == {
        "liquidation_id": "101",
        "liquidator_id": "liquidator-1",
        "ratio_qty_request": "1",
        "extra_liquidation_ratio": "0",
        "limit_price": {"PERP_BTC_USDC": "50000"},
    }


def test_the_record_of_terms_by_symbol() -> None:
    terms = request_of(samples.high_request()).terms
    assert terms is not None

    assert terms_record(terms) == {
        "liquidation_id": "202",
        "liquidator_id": "liquidator-1",
        "extra_liquidation_ratio": "0",
        "symbols": [
            {"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.5"},
            {"symbol": "PERP_DOGE_USDC", "ratio_qty_request": "1"},
        ],
    }


@pytest.mark.parametrize(
    "request_",
    [
        samples.low_request({"extra_liquidation_ratio": "0.25"}),
        samples.low_request({"limit_price": {"PERP_BTC_USDC": "50000", "PERP_ETH_USDC": "0.1"}}),
        samples.high_request(),
    ],
    ids=["extra", "limits", "by symbol"],
)
def test_terms_are_read_again_as_they_were(request_: Json) -> None:
    terms = request_of(request_).terms
    assert terms is not None

    assert terms_from_record(json.loads(json.dumps(terms_record(terms)))) == terms


def test_what_a_claim_takes_is_written_in_full_and_read_again() -> None:
    positions = (
        ClaimedPosition("PERP_BTC_USDC", "0.25", "0.5", "10000"),
        ClaimedPosition("PERP_ETH_USDC", "-2", "-4", "5000"),
    )
    record = claimed_positions_record(positions)

    assert record == [
        {"symbol": "PERP_BTC_USDC", "qty": "0.25", "max_qty": "0.5", "notional": "10000"},
        {"symbol": "PERP_ETH_USDC", "qty": "-2", "max_qty": "-4", "notional": "5000"},
    ]
    assert claimed_positions_from_record(record) == positions


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            samples.low_request(
                {"extra_liquidation_ratio": "0.10", "limit_price": {"PERP_BTC_USDC": "1"}},
                liquidator=samples.liquidator(),
            ),
            id="LOW",
        ),
        pytest.param(samples.high_request(), id="HIGH"),
    ],
)
def test_a_request_made_of_records_is_parsed_as_the_request_itself(request_: Json) -> None:
    parsed = request_of(request_)
    assert parsed.terms is not None
    assert parsed.snapshot is not None
    again: Json = {
        "terms": terms_record(parsed.terms),
        "liquidation": liquidation_record(parsed.snapshot),
    }
    if parsed.liquidator is not None:
        again["liquidator"] = liquidator_record(parsed.liquidator)

    assert request_of(again) == parsed
