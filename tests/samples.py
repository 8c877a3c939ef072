"""Requests to vary: each is accepted as it stands under the built-in rules."""

from typing import Any

from google.protobuf.json_format import ParseDict

from liquidation.v1 import liquidation_pb2, rules_service_pb2

LOW_NOTIONAL = "30000"  # of `low()`: 0.5 × 40000 + |-4 × 2500|
HIGH_NOTIONALS = {"PERP_SOL_USDC": "20000", "PERP_DOGE_USDC": "8000"}  # of `high()`


def low(**changes: Any) -> dict[str, Any]:
    """A liquidation of tier LOW, as protobuf JSON."""
    return {
        "liquidation_id": 101,
        "account_id": "account-low",
        "tier": "TIER_LOW",
        "positions": [
            {"symbol": "PERP_BTC_USDC", "position_qty": "0.5", "mark_price": "40000"},
            {"symbol": "PERP_ETH_USDC", "position_qty": "-4", "mark_price": "2500"},
        ],
        "margin_ratio": "0.008",
        "maintenance_margin_ratio": "0.012",
        "revision": 7,
        "snapshot_time": "2026-11-20T08:00:00.123456789Z",
    } | changes


def high(**changes: Any) -> dict[str, Any]:
    """A liquidation of tier HIGH, as protobuf JSON."""
    return {
        "liquidation_id": 202,
        "account_id": "account-high",
        "tier": "TIER_HIGH",
        "positions": [
            {"symbol": "PERP_SOL_USDC", "position_qty": "100", "mark_price": "200"},
            {"symbol": "PERP_DOGE_USDC", "position_qty": "-80000", "mark_price": "0.1"},
        ],
        "margin_ratio": "0.02",
        "maintenance_margin_ratio": "0.05",
        "revision": 3,
    } | changes


def low_terms(**changes: Any) -> dict[str, Any]:
    """Terms that claim all of `low()`."""
    return {
        "liquidation_id": 101,
        "liquidator_id": "liquidator-1",
        "ratio_qty_request": "1",
    } | changes


def high_terms(**changes: Any) -> dict[str, Any]:
    """Terms that claim both symbols of `high()`."""
    return {
        "liquidation_id": 202,
        "liquidator_id": "liquidator-1",
        "symbols": [
            {"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.5"},
            {"symbol": "PERP_DOGE_USDC", "ratio_qty_request": "1"},
        ],
    } | changes


def low_request(
    terms: dict[str, Any] | None = None,
    liquidation: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """A request for `low()` with some of its terms, its snapshot or other fields changed."""
    return {
        "terms": low_terms(**(terms or {})),
        "liquidation": low(**(liquidation or {})),
    } | others


def high_request(
    terms: dict[str, Any] | None = None,
    liquidation: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """A request for `high()` with some of its terms, its snapshot or other fields changed."""
    return {
        "terms": high_terms(**(terms or {})),
        "liquidation": high(**(liquidation or {})),
    } | others


def margin_position(symbol: str, **changes: Any) -> dict[str, Any]:
    """A margin position without quantity, as protobuf JSON."""
    return {
        "symbol": symbol,
        "position_qty": "0",
        "mark_price": "1",
        "base_mmr": "0.012",
        "base_imr": "0.02",
        "imr_factor": "0.0000002",
    } | changes


def liquidator(**account: Any) -> dict[str, Any]:
    """A liquidator with collateral enough for all of `low()`, as protobuf JSON."""
    return {
        "liquidator_id": "liquidator-1",
        "account": {
            "collateral_value": "100000",
            "max_leverage": "10",
            "positions": [
                margin_position("PERP_BTC_USDC", mark_price="40000"),
                margin_position("PERP_ETH_USDC", mark_price="2500"),
            ],
        }
        | account,
    }


def check(request: dict[str, Any]) -> rules_service_pb2.CheckClaimRequest:
    """The message of a request given as protobuf JSON."""
    return ParseDict(request, rules_service_pb2.CheckClaimRequest())


def snapshot(liquidation: dict[str, Any]) -> liquidation_pb2.Liquidation:
    """The message of a liquidation given as protobuf JSON."""
    return ParseDict(liquidation, liquidation_pb2.Liquidation())


def slow_batch(items: int = 1000) -> bytes:
    """A batch that takes far longer than the calls below wait for it; every item is refused."""
    position = {"position_qty": "1.5", "mark_price": "2000"}
    positions = [position | {"symbol": f"S{number}"} for number in range(100)]
    request = check(low_request({"ratio_qty_request": "0.001"}, {"positions": positions}))
    return rules_service_pb2.BatchCheckClaimsRequest(requests=[request] * items).SerializeToString()
