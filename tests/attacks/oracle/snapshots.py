"""Snapshots to ask about: positions whose notional is at the threshold or just beside it."""

from random import Random
from typing import Any

from tests.attacks.oracle import drawing
from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.drawing import ONE, beside, signed, units_of, written
from tests.attacks.oracle.margins import maintenance_margin

Json = dict[str, Any]

# Prices and ratios by which a threshold can be divided without a rest, most of the time.
_PRICES = [ONE, ONE, ONE // 2, 2 * ONE, ONE // 8, 40 * ONE, 1000]
SPREAD = [1, 1, 2, 4, 5, 1000, 3, 7]
_MOST_SYMBOLS = 256


def drawn_snapshot(
    random: Random, in_force: InForce, liquidation_id: int, account_id: str, revision: int
) -> Json:
    """A snapshot that is well formed, of either tier."""
    tier = random.choice(["TIER_LOW", "TIER_HIGH"])
    count = random.choice([1, 2, 3])
    if random.randint(0, 299) == 0:
        count = random.choice([_MOST_SYMBOLS, _MOST_SYMBOLS, 40])
    positions = [_position(random, index) for index in range(count)]
    if random.randint(0, 2):
        _put_at_threshold(random, positions, tier, units_of(in_force.thresholds[tier]))
    snapshot: Json = {
        "liquidation_id": liquidation_id,
        "account_id": account_id,
        "tier": tier,
        "positions": positions,
        "margin_ratio": "0.01",
        "maintenance_margin_ratio": "0.02",
        "revision": revision,
    }
    if random.randint(0, 3) == 0:
        put_margin_at_bound(random, snapshot)
    return snapshot


def _position(random: Random, index: int) -> Json:
    return {
        "symbol": f"PERP_{index}_USDC",
        "position_qty": written(signed(random, drawing.amount(random))),
        "mark_price": written(drawing.amount(random)),
    }


def _put_at_threshold(random: Random, positions: list[Json], tier: str, threshold: int) -> None:
    """Makes the whole (LOW) or one position (HIGH) worth a round multiple of the threshold.

    On LOW the others are made as small as they can be, for the last to fill up the rest.
    """
    wanted = threshold * random.choice(SPREAD)
    chosen = random.choice(positions)
    if tier == "TIER_LOW":
        for index, each in enumerate(positions):
            each["position_qty"] = written(signed(random, random.randint(1, 10**6) * ONE // 10**6))
            each["mark_price"] = written(_PRICES[index % 3])
            if each is not chosen:
                wanted -= abs(units_of(each["position_qty"])) * units_of(each["mark_price"]) // ONE
    price = random.choice(_PRICES)
    quantity = wanted * ONE // price + random.randint(-1, 1)
    if 0 < quantity <= drawing.HIGHEST:
        chosen["mark_price"] = written(price)
        chosen["position_qty"] = written(signed(random, quantity))


def put_margin_at_bound(random: Random, snapshot: Json) -> None:
    """Makes the margin just enough, or not: as two ratios, or as a margin account."""
    positions = snapshot["positions"]
    if random.randint(0, 1) or len(positions) > 40:
        maintenance = random.choice([ONE // 50, ONE, 1, drawing.HIGHEST])
        snapshot["maintenance_margin_ratio"] = written(maintenance)
        bound = random.choice([maintenance, maintenance, maintenance, 0, -drawing.HIGHEST])
        snapshot["margin_ratio"] = beside(random, bound)
        return
    account: Json = {"positions": margin_positions(random, positions)}
    if all(each["position_qty"] == "0" for each in account["positions"]):
        account["positions"][0]["position_qty"] = "-1.5"
    needed = drawing.units(maintenance_margin(account))
    account["collateral_value"] = beside(random, random.choice([needed, needed, 0, -5 * ONE]))
    del snapshot["margin_ratio"], snapshot["maintenance_margin_ratio"]
    snapshot["account"] = account


def margin_positions(random: Random, positions: list[Json]) -> list[Json]:
    """The positions of a margin account that lists the symbols of `positions`."""
    factor = random.choice(
        ["0", "0.0000002", "0.000001", "0.5", written(drawing.HIGHEST), written(1)]
    )
    return [
        {
            "symbol": each["symbol"],
            "position_qty": random.choice([each["position_qty"], "0", "-1.5", "1000"]),
            "mark_price": each["mark_price"],
            "base_mmr": random.choice(["0.012", "0.003", "1"]),
            "base_imr": random.choice(["0.02", "0.1", "0.03", written(1)]),
            "imr_factor": factor,
        }
        for each in positions
    ]
