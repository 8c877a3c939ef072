"""Snapshots whose notional or margin is at a bound, or just beside it."""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from random import Random
from typing import Final

from tests.attacks.differential.calls import Json
from tests.attacks.differential.drawing.numbers import amount, beside, chance
from tests.attacks.oracle.drawing import HIGHEST, ONE, signed, units_of, written

__all__ = ["Thresholds", "margin_positions", "put_margin_at_bound", "snapshot"]

_PRICES: Final = (ONE, ONE, ONE // 2, 2 * ONE, ONE // 8, 40 * ONE, 1000)
_SPREAD: Final = (1, 1, 2, 4, 5, 1000, 3, 7)
_MOST_SYMBOLS: Final = 256


@dataclass(frozen=True)
class Thresholds:
    """The least notional of a claim by tier, in steps."""

    low: int = 10000 * ONE
    high: int = 5000 * ONE


def snapshot(
    random: Random, thresholds: Thresholds, liquidation_id: int, account_id: str, revision: int
) -> Json:
    """A snapshot that is well formed, of either tier."""
    low = bool(random.randrange(2))
    count = random.choice((1, 1, 2, 3))
    if chance(random, 400):
        count = random.choice((_MOST_SYMBOLS, 40))
    positions = [
        {
            "symbol": f"PERP_{index}_USDC",
            "position_qty": written(signed(random, amount(random))),
            "mark_price": written(amount(random)),
        }
        for index in range(count)
    ]
    if random.randrange(3):
        _put_at_threshold(random, positions, thresholds.low if low else thresholds.high)
    drawn: Json = {
        "liquidation_id": liquidation_id,
        "account_id": account_id,
        "tier": 1 if low else 2,
        "positions": positions,
        "margin_ratio": "0.01",
        "maintenance_margin_ratio": "0.02",
        "revision": revision,
    }
    if chance(random, 4):
        put_margin_at_bound(random, drawn)
    if chance(random, 4):
        drawn["snapshot_time"] = {"seconds": random.choice((1677618623, 0, 1)), "nanos": 5000}
    return drawn


def _put_at_threshold(random: Random, positions: list[Json], threshold: int) -> None:
    """Makes all others small, and one of them worth a round multiple of the threshold."""
    wanted = threshold * random.choice(_SPREAD)
    chosen = random.choice(positions)
    for index, each in enumerate(positions):
        if each is not chosen:
            quantity = random.randint(1, 1000) * ONE // 1000
            each["position_qty"] = written(signed(random, quantity))
            each["mark_price"] = written(_PRICES[index % 3])
            wanted -= quantity * _PRICES[index % 3] // ONE
    price = random.choice(_PRICES)
    quantity = wanted * ONE // price + random.choice((-1, 0, 0, 1))
    if 0 < quantity <= HIGHEST:
        chosen["mark_price"] = written(price)
        chosen["position_qty"] = written(signed(random, quantity))


def put_margin_at_bound(random: Random, drawn: Json) -> None:
    """Makes the margin just enough, or not: as two ratios, or as a margin account."""
    positions = drawn["positions"]
    if random.randrange(2) or len(positions) > 40:
        maintenance = random.choice((ONE // 50, ONE, 1, HIGHEST))
        drawn["maintenance_margin_ratio"] = written(maintenance)
        drawn["margin_ratio"] = beside(random, random.choice((maintenance, maintenance, 0)))
        return
    account: Json = {"positions": margin_positions(random, positions)}
    needed = units_of(_maintenance_margin(account["positions"]))
    account["collateral_value"] = beside(random, random.choice((needed, needed, 0, -5 * ONE)))
    del drawn["margin_ratio"], drawn["maintenance_margin_ratio"]
    drawn["account"] = account


def margin_positions(random: Random, positions: list[Json]) -> list[Json]:
    """The positions of a margin account that lists the symbols of `positions`."""
    factor = random.choice(("0", "0", "0.0000002", "0.000001", "0.5", written(HIGHEST), written(1)))
    return [
        {
            "symbol": each["symbol"],
            "position_qty": random.choice((each["position_qty"], "0", "-1.5", "1000")),
            "mark_price": each["mark_price"],
            "base_mmr": random.choice(("0.012", "0.003", "1")),
            "base_imr": random.choice(("0.02", "0.1", "0.03", written(1))),
            "imr_factor": factor,
        }
        for each in positions
    ]


def _maintenance_margin(positions: list[Json]) -> str:
    """About what the contract's formula gives; without a factor it is exact."""
    with localcontext(prec=80):
        margin = Decimal(0)
        for each in positions:
            value = abs(Decimal(each["position_qty"]) * Decimal(each["mark_price"]))
            base, initial = Decimal(each["base_mmr"]), Decimal(each["base_imr"])
            by_size = Decimal(0)
            if value and Decimal(each["imr_factor"]):
                by_size = base / initial * Decimal(each["imr_factor"]) * value ** Decimal("0.8")
            margin += value * max(base, by_size)
        return f"{min(margin, Decimal(10**18 - 1)):f}"
