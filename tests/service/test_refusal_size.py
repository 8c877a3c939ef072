"""The trailers stay under 4 KiB, whatever the request held; the code and its words always stay."""

from typing import Any

import pytest

from tests import samples
from tests.sidecars import Refused, Running

LONGEST = "~" * 128
WIDEST = "9" * 18 + "." + "9" * 18


def symbol(number: int) -> str:
    return f"{number:03d}" + "S" * 125


def size_of(refused: Refused) -> int:
    """As HTTP/2 counts a header list: name, value (binary in base64) and 32 for each."""
    status = refused.trailers["grpc-status-details-bin"]
    encoded = -(-len(status) // 3) * 4
    return (
        len("grpc-status-details-bin") + encoded + 32
        + len("grpc-message") + len(refused.message or "") + 32
        + len("grpc-status") + 2 + 32
    )  # fmt: skip


def largest(**changes: Any) -> dict[str, Any]:
    """256 positions with the longest symbols and widest numbers, and a limit on each."""
    positions = [
        {"symbol": symbol(number), "position_qty": WIDEST, "mark_price": WIDEST}
        for number in range(256)
    ]
    return {
        "terms": {
            "liquidation_id": 2**63 - 1,
            "liquidator_id": LONGEST,
            "symbols": [
                {"symbol": symbol(number), "ratio_qty_request": "0.000000000000000001"}
                for number in range(256)
            ],
            "limit_price": {symbol(number): WIDEST for number in range(256)},
        }
        | changes.pop("terms", {}),
        "liquidation": {
            "liquidation_id": 2**63 - 1,
            "account_id": "A" * 128,
            "tier": "TIER_HIGH",
            "positions": positions,
            "margin_ratio": "-" + WIDEST,
            "maintenance_margin_ratio": WIDEST,
            "revision": 2**63 - 1,
            "snapshot_time": "9999-12-31T23:59:59.999999999Z",
        }
        | changes.pop("liquidation", {}),
        "explain": True,
    } | changes


def account(**changes: Any) -> dict[str, Any]:
    """An account of 256 positions whose ratios end after hundreds of digits."""
    return {
        "collateral_value": "0." + "0" * 17 + "1",
        "positions": [
            samples.margin_position(
                symbol(number),
                position_qty="0.000000000000524288",
                mark_price="0.000000000000524288",
                base_mmr=WIDEST,
                base_imr="0.000000000000524288",
                imr_factor=WIDEST,
            )
            for number in range(256)
        ],
    } | changes


TOO_SMALL = {
    "positions": [
        {"symbol": symbol(number), "position_qty": "1", "mark_price": WIDEST}
        for number in range(256)
    ]
}
NO_RATIOS = {"margin_ratio": "", "maintenance_margin_ratio": ""}
CASES = {
    "every id and number at its longest, one position too small": largest(liquidation=TOO_SMALL),
    "every number malformed": largest(
        terms={
            "symbols": [
                {"symbol": symbol(number), "ratio_qty_request": "x" * 10_000}
                for number in range(256)
            ]
        }
    ),
    "ids of a megabyte": largest(terms={"liquidator_id": "L" * 1_000_000}),
    "a limit crossed": largest(
        terms={
            "symbols": [{"symbol": symbol(0), "ratio_qty_request": "1"}],
            "limit_price": {symbol(0): "-" + WIDEST},
        }
    ),
    "margin is enough": largest(
        liquidation={"margin_ratio": WIDEST, "maintenance_margin_ratio": WIDEST}
    ),
    "ratios of hundreds of digits, and enough": largest(
        liquidation=NO_RATIOS | {"account": account(collateral_value=WIDEST)}
    ),
    "ratios of hundreds of digits": largest(
        liquidation=TOO_SMALL | NO_RATIOS | {"account": account()}
    ),
    "the liquidator is short of margin": largest(
        terms={
            "symbols": [{"symbol": symbol(n), "ratio_qty_request": "1"} for n in range(256)],
        },
        liquidator={
            "liquidator_id": LONGEST,
            "account": account(max_leverage="0.000000000000524288"),
        },
    ),
    "nothing is stored": {
        "terms": {
            "liquidation_id": 2**63 - 1,
            "liquidator_id": LONGEST,
            "ratio_qty_request": "1",
        },
        "explain": True,
    },
}


@pytest.mark.parametrize("request_", CASES.values(), ids=CASES.keys())
async def test_the_trailers_stay_under_4_kib_and_keep_the_code(
    server: Running, request_: dict[str, Any]
) -> None:
    refused = await server.refused(samples.check(request_))

    assert size_of(refused) < 4096
    details = refused.details
    assert details is not None
    assert details.error.code < -1000
    assert details.error.message == details.status.message == refused.message
    assert details.info.metadata["code"] == str(details.error.code)


async def test_a_small_request_keeps_its_whole_trace(server: Running) -> None:
    refused = await server.refused(
        samples.check(samples.low_request({"ratio_qty_request": "0.1"}, explain=True))
    )

    assert refused.details is not None
    trace = refused.details.error.decision.trace
    assert len(trace) == 13
    (deciding,) = (each for each in trace if each.code)
    assert deciding.facts["least_req_ratio"] == "0.3334"


async def test_an_accepted_claim_keeps_its_whole_trace_however_long(server: Running) -> None:
    request = largest(terms={"symbols": [{"symbol": symbol(0), "ratio_qty_request": "1"}]})

    response = await server.check(samples.check(request))

    assert len(response.decision.trace) == 13
    assert all(each.facts for each in response.decision.trace[2:])
