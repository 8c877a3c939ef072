"""Rules 3 to 13 as one function of bare `Decimal` ifs: what deciding costs at the very least.

It gives the code alone, 0 for accepted: no words, no numbers, no claimed positions. It is to be
called where `EXACT` is the decimal context, so that its operators lose no digit.
"""

from collections.abc import Mapping
from decimal import Decimal

from liquidation.rules.model import Liquidator, StoredState, Terms, Tier
from liquidation.rules.numbers import ONE, ZERO, four_fifths_power

__all__ = ["bare_rules"]


def bare_rules(  # noqa: C901 - straight down, as one would write it by hand
    terms: Terms,
    liquidator: Liquidator | None,
    state: StoredState,
    thresholds: Mapping[Tier, Decimal],
) -> int:
    """The code that rules 3 to 13 refuse with, 0 where none does.

    The liquidation is the one of `state`, and its two ratios are decimals.
    """
    ratio, extra, named = terms.ratio_qty_request, terms.extra_liquidation_ratio, terms.symbols
    if ratio is not None and not ZERO <= ratio <= ONE:
        return -1005
    for each in named:
        if not ZERO <= each.ratio_qty_request <= ONE:
            return -1005
    if not ZERO <= extra <= ONE:
        return -1005
    if extra > ZERO:
        if ratio is not None and ratio != ONE:
            return -1005
        for each in named:
            if each.ratio_qty_request != ONE:
                return -1005
    liquidation = state.liquidation
    if liquidation is None or state.closed:
        return -1202
    low = liquidation.tier is Tier.LOW
    if low is bool(named):
        return -1005
    limits = terms.limit_price
    by_symbol = {}
    if named or limits:
        by_symbol = {position.symbol: position for position in liquidation.positions}
    for each in named:
        if each.symbol not in by_symbol:
            return -1005
    for symbol in limits:
        if symbol not in by_symbol:
            return -1005
    if state.active_claim is not None:
        return -1012
    completed = state.last_completed_revision
    if completed is not None and liquidation.revision <= completed:
        return -1012
    if terms.liquidator_id == liquidation.account_id or state.liquidator_in_liquidation:
        return -1012
    if liquidation.margin_ratio >= liquidation.maintenance_margin_ratio:
        return -1202
    threshold = thresholds[liquidation.tier]
    if low:
        assert ratio is not None
        claimed = [(position, ratio) for position in liquidation.positions]
        notional = ZERO
        for position in liquidation.positions:
            notional += abs(position.position_qty * position.mark_price)
        if notional < threshold:
            if ratio != ONE:
                return -1201
        elif ratio * notional < threshold:
            return -1201
    else:
        claimed = [(by_symbol[each.symbol], each.ratio_qty_request) for each in named]
        for position, asked in claimed:
            notional = abs(position.position_qty * position.mark_price)
            if notional < threshold:
                if asked != ONE:
                    return -1201
            elif asked * notional < threshold:
                return -1201
    if limits:
        for position, _ in claimed:
            limit = limits.get(position.symbol)
            if limit is not None:
                if position.position_qty > ZERO and position.mark_price > limit:
                    return -1103
                if position.position_qty < ZERO and position.mark_price < limit:
                    return -1103
    if liquidator is None:
        return 0
    account = liquidator.account
    taken = {each.symbol: each.position_qty * (asked + extra) for each, asked in claimed}
    leverage = account.max_leverage
    assert leverage is not None
    needed = ZERO
    for own in account.positions:
        notional = abs((own.position_qty + taken.pop(own.symbol, ZERO)) * own.mark_price)
        by_size = own.imr_factor * four_fifths_power(notional)
        needed += notional * max(ONE, leverage * max(own.base_imr, by_size))
    if taken:
        return -1005
    return -1101 if needed > account.collateral_value * leverage else 0
