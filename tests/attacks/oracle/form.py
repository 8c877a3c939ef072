"""Whether a request is well formed, read from the contract. Nothing of the service."""

import re
from collections.abc import Mapping
from typing import Any

from tests.attacks.oracle.numbers import is_decimal, is_positive, is_zero

Json = Mapping[str, Any]


def is_well_formed(request: Json) -> bool:
    """Whether every number, id, size and combination of fields is of the allowed form."""
    terms: Json = request.get("terms", {})
    sound = _are_terms(terms)
    if (sent := request.get("liquidation")) is not None:
        sound &= _is_snapshot(sent)
        sound &= sent.get("liquidation_id", 0) == terms.get("liquidation_id", 0)
    if (liquidator := request.get("liquidator")) is not None:
        # Choice: the liquidator's account is that of the one who claims.
        sound &= liquidator.get("liquidator_id", "") == terms.get("liquidator_id", "")
        account = liquidator.get("account")
        sound &= account is not None and _is_account(account, of_liquidator=True)
    return sound


def _are_terms(terms: Json) -> bool:
    named = terms.get("symbols", [])
    limits = terms.get("limit_price", {})
    ratio = terms.get("ratio_qty_request", "")
    extra = terms.get("extra_liquidation_ratio", "")
    return all(
        [
            terms.get("liquidation_id", 0) > 0,
            _is_id(terms.get("liquidator_id", "")),
            len(named) <= 256,
            len(limits) <= 256,
            _are_distinct(named),
            bool(named) != bool(ratio),
            not extra or is_decimal(extra),
            bool(named) or is_decimal(ratio),
            all(is_decimal(each.get("ratio_qty_request", "")) for each in named),
            all(_is_id(symbol) and is_decimal(limit) for symbol, limit in limits.items()),
        ]
    )


def _is_snapshot(sent: Json) -> bool:
    positions = sent.get("positions", [])
    sound = [
        sent.get("liquidation_id", 0) > 0,
        _is_id(sent.get("account_id", "")),
        sent.get("tier") in {"TIER_LOW", "TIER_HIGH"},
        sent.get("revision", 0) >= 1,
        1 <= len(positions) <= 256,
        _are_distinct(positions),
        all(is_decimal(each.get("position_qty", "")) for each in positions),
        all(is_positive(each.get("mark_price", "")) for each in positions),
        not any(is_zero(each.get("position_qty", "")) for each in positions),
    ]
    account = sent.get("account")
    if account is None:
        sound.append(is_decimal(sent.get("margin_ratio", "")))
        sound.append(is_positive(sent.get("maintenance_margin_ratio", "")))
    else:
        sound.append(not sent.get("margin_ratio") and not sent.get("maintenance_margin_ratio"))
        sound.append(_is_account(account, of_liquidator=False))
        # Without any quantity there is no margin ratio.
        quantities = [each.get("position_qty", "") for each in account.get("positions", [])]
        sound.append(not all(map(is_zero, quantities)))
    return all(sound)


def _is_account(account: Json, *, of_liquidator: bool) -> bool:
    positions = account.get("positions", [])
    leverage = account.get("max_leverage", "")
    sound = [
        is_decimal(account.get("collateral_value", "")),
        # Choice: what no formula needs may be left out.
        is_positive(leverage) or (not leverage and not of_liquidator),
        len(positions) <= 256,
        _are_distinct(positions),
    ]
    for each in positions:
        base_mmr = each.get("base_mmr", "")
        factor = each.get("imr_factor", "")
        sound += [
            is_decimal(each.get("position_qty", "")),
            is_positive(each.get("mark_price", "")),
            is_positive(each.get("base_imr", "")),
            is_positive(base_mmr) or (not base_mmr and of_liquidator),
            is_decimal(factor) and (is_zero(factor) or not factor.startswith("-")),
        ]
    return all(sound)


def _are_distinct(named: list[Json]) -> bool:
    symbols = [each.get("symbol", "") for each in named]
    return len(set(symbols)) == len(symbols) and all(map(_is_id, symbols))


def _is_id(text: str) -> bool:
    return bool(re.fullmatch("[\x20-\x7e]{1,128}", text))
