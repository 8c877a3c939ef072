"""Values as plain records and back: the form in which they are stored and logged.

A record is the protobuf JSON of the same message with its proto field names, so that the record of
a request can be sent again as it is.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from liquidation.rules.margin import margin_ratios
from liquidation.rules.model import (
    ClaimedPosition,
    Liquidation,
    Liquidator,
    MarginAccount,
    MarginPosition,
    Position,
    SymbolRatio,
    Terms,
    Tier,
)
from liquidation.rules.numbers import Ratio, plain

Record = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS: Final = 1_000_000_000
_TIER_NAMES: Final = {tier: f"TIER_{tier.name}" for tier in Tier}


def terms_record(terms: Terms) -> Record:
    """The terms of a claim."""
    record: Record = {
        "liquidation_id": str(terms.liquidation_id),
        "liquidator_id": terms.liquidator_id,
    }
    if terms.ratio_qty_request is not None:
        record["ratio_qty_request"] = plain(terms.ratio_qty_request)
    record["extra_liquidation_ratio"] = plain(terms.extra_liquidation_ratio)
    if terms.symbols:
        record["symbols"] = [
            {"symbol": named.symbol, "ratio_qty_request": plain(named.ratio_qty_request)}
            for named in terms.symbols
        ]
    if terms.limit_price:
        record["limit_price"] = {
            symbol: plain(price) for symbol, price in terms.limit_price.items()
        }
    return record


def terms_from_record(record: Mapping[str, Any]) -> Terms:
    """The terms that `terms_record` wrote."""
    ratio = record.get("ratio_qty_request")
    return Terms(
        liquidation_id=int(record["liquidation_id"]),
        liquidator_id=record["liquidator_id"],
        ratio_qty_request=None if ratio is None else Decimal(ratio),
        extra_liquidation_ratio=Decimal(record["extra_liquidation_ratio"]),
        symbols=tuple(
            SymbolRatio(each["symbol"], Decimal(each["ratio_qty_request"]))
            for each in record.get("symbols", ())
        ),
        limit_price={
            symbol: Decimal(price) for symbol, price in record.get("limit_price", {}).items()
        },
    )


def claimed_positions_record(positions: Sequence[ClaimedPosition]) -> list[Record]:
    """What a claim takes."""
    return [
        {
            "symbol": each.symbol,
            "qty": each.qty,
            "max_qty": each.max_qty,
            "notional": each.notional,
        }
        for each in positions
    ]


def claimed_positions_from_record(
    records: Sequence[Mapping[str, Any]],
) -> tuple[ClaimedPosition, ...]:
    """What `claimed_positions_record` wrote."""
    return tuple(
        ClaimedPosition(each["symbol"], each["qty"], each["max_qty"], each["notional"])
        for each in records
    )


def liquidation_record(liquidation: Liquidation) -> Record:
    """A snapshot; its ratios are left out where they were computed from its account."""
    record: Record = {
        "liquidation_id": str(liquidation.liquidation_id),
        "account_id": liquidation.account_id,
        "tier": _TIER_NAMES[liquidation.tier],
        "positions": [
            {
                "symbol": position.symbol,
                "position_qty": plain(position.position_qty),
                "mark_price": plain(position.mark_price),
            }
            for position in liquidation.positions
        ],
        "revision": str(liquidation.revision),
    }
    if liquidation.account is None:
        record["margin_ratio"] = plain(liquidation.margin_ratio)
        record["maintenance_margin_ratio"] = plain(liquidation.maintenance_margin_ratio)
    else:
        record["account"] = account_record(liquidation.account)
    if liquidation.snapshot_time_ns is not None:
        record["snapshot_time"] = _time_text(liquidation.snapshot_time_ns)
    return record


def liquidation_from_record(record: Mapping[str, Any]) -> Liquidation:
    """The snapshot that `liquidation_record` wrote."""
    account = _account(record["account"]) if "account" in record else None
    margin_ratio: Ratio
    maintenance: Ratio
    if account is not None:
        margin_ratio, maintenance = margin_ratios(account)
    else:
        margin_ratio = Decimal(record["margin_ratio"])
        maintenance = Decimal(record["maintenance_margin_ratio"])
    return Liquidation(
        liquidation_id=int(record["liquidation_id"]),
        account_id=record["account_id"],
        tier=Tier[record["tier"].removeprefix("TIER_")],
        positions=tuple(
            Position(each["symbol"], Decimal(each["position_qty"]), Decimal(each["mark_price"]))
            for each in record["positions"]
        ),
        margin_ratio=margin_ratio,
        maintenance_margin_ratio=maintenance,
        revision=int(record["revision"]),
        snapshot_time_ns=_time_ns(record["snapshot_time"]) if "snapshot_time" in record else None,
        account=account,
    )


def liquidator_record(liquidator: Liquidator) -> Record:
    """A liquidator and its account."""
    return {
        "liquidator_id": liquidator.liquidator_id,
        "account": account_record(liquidator.account),
    }


def account_record(account: MarginAccount) -> Record:
    """All positions of an account."""
    record: Record = {
        "collateral_value": plain(account.collateral_value),
        "positions": [_margin_position_record(position) for position in account.positions],
    }
    if account.max_leverage is not None:
        record["max_leverage"] = plain(account.max_leverage)
    return record


def _margin_position_record(position: MarginPosition) -> Record:
    record = {
        "symbol": position.symbol,
        "position_qty": plain(position.position_qty),
        "mark_price": plain(position.mark_price),
        "base_imr": plain(position.base_imr),
        "imr_factor": plain(position.imr_factor),
    }
    return record if position.base_mmr is None else record | {"base_mmr": plain(position.base_mmr)}


def _account(record: Mapping[str, Any]) -> MarginAccount:
    return MarginAccount(
        Decimal(record["collateral_value"]),
        tuple(
            MarginPosition(
                each["symbol"],
                Decimal(each["position_qty"]),
                Decimal(each["mark_price"]),
                Decimal(each["base_mmr"]),  # a liquidated account has every one
                Decimal(each["base_imr"]),
                Decimal(each["imr_factor"]),
            )
            for each in record["positions"]
        ),
        Decimal(record["max_leverage"]) if "max_leverage" in record else None,
    )


def _time_text(nanoseconds: int) -> str:
    """RFC 3339 in UTC; nine decimals, of which a datetime alone would keep six."""
    seconds, rest = divmod(nanoseconds, _NANOSECONDS)
    moment = _second_text(seconds)
    return f"{moment}.{rest:09d}Z" if rest else f"{moment}Z"


# Snapshots come within few seconds of each other: 0.6 µs less for a second that is known.
@lru_cache(maxsize=256)
def _second_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def _time_ns(text: str) -> int:
    moment, _, decimals = text.removesuffix("Z").partition(".")
    since_epoch = datetime.fromisoformat(moment).replace(tzinfo=UTC) - _EPOCH
    seconds = since_epoch.days * 86400 + since_epoch.seconds
    return seconds * _NANOSECONDS + int((decimals or "0").ljust(9, "0"))
