"""Changes of a sound request, each of which brings one rule near its bound, or breaks it."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

from tests.attacks.oracle import drawing
from tests.attacks.oracle.drawing import HIGHEST, ONE, beside, chance, units_of, written
from tests.attacks.oracle.margins import initial_margin
from tests.attacks.oracle.numbers import number
from tests.attacks.oracle.snapshots import margin_positions, put_margin_at_bound
from tests.attacks.oracle.worlds import Subject, World

Json = dict[str, Any]


@dataclass
class Scene:
    """A request that is being twisted; `liquidation` is what is decided on, sent or stored.

    What is stored stays as it is, other requests meet it too.
    """

    random: Random
    world: World
    subject: Subject
    request: Json
    liquidation: Json
    unknown_field_in: str | None = None

    @property
    def terms(self) -> Json:
        terms: Json = self.request["terms"]
        return terms

    @property
    def sent(self) -> Json | None:
        return self.request.get("liquidation")

    @property
    def ratios(self) -> list[Json]:
        """The parts of the terms that hold a ratio."""
        return self.terms.get("symbols") or [self.terms]

    def claim_all(self) -> None:
        """The whole may always be claimed, so rules behind `least_request_ratio` get a turn."""
        for each in self.ratios:
            each["ratio_qty_request"] = "1"


def _extra(scene: Scene) -> None:
    bound = scene.random.choice([0, ONE, ONE // 2])
    scene.terms["extra_liquidation_ratio"] = beside(scene.random, bound)
    if scene.random.randint(0, 2):
        scene.claim_all()


def _margin(scene: Scene) -> None:
    sent = scene.sent
    if sent is not None and "account" not in sent:
        put_margin_at_bound(scene.random, sent)


def _liquidator(scene: Scene) -> None:
    random, positions = scene.random, scene.liquidation["positions"]
    if random.randint(0, 2):
        scene.claim_all()
    account: Json = {
        "positions": margin_positions(random, positions),
        "max_leverage": random.choice(["10", "3", "50", "1", written(1), written(HIGHEST)]),
    }
    needed = drawing.units(initial_margin(account, _taken(scene)))
    account["collateral_value"] = beside(random, needed)
    if len(account["positions"]) > 1 and chance(random, 6):
        account["positions"].pop()
    if chance(random, 6):
        for each in account["positions"]:
            del each["base_mmr"]
    if chance(random, 4):
        account["positions"].append({**account["positions"][0], "symbol": "OTHER"})
    liquidator_id = scene.terms["liquidator_id"]
    if chance(random, 8):
        liquidator_id = random.choice(["", "somebody-else"])
    scene.request["liquidator"] = {"liquidator_id": liquidator_id, "account": account}


def _taken(scene: Scene) -> dict[str, Fraction]:
    """What the claim would take of each symbol at most."""
    extra = number(scene.terms.get("extra_liquidation_ratio", "0"))
    quantities = {
        each["symbol"]: number(each["position_qty"]) for each in scene.liquidation["positions"]
    }
    if named := scene.terms.get("symbols"):
        ratios = {each["symbol"]: number(each["ratio_qty_request"]) for each in named}
    else:
        ratios = dict.fromkeys(quantities, number(scene.terms["ratio_qty_request"]))
    return {symbol: quantities[symbol] * (ratio + extra) for symbol, ratio in ratios.items()}


def _limits(scene: Scene) -> None:
    if scene.random.randint(0, 2):
        scene.claim_all()
    positions = scene.random.sample(
        scene.liquidation["positions"],
        min(len(scene.liquidation["positions"]), scene.random.randint(1, 3)),
    )
    scene.terms["limit_price"] = {
        each["symbol"]: beside(
            scene.random, scene.random.choice([*[units_of(each["mark_price"])] * 4, 0, -HIGHEST])
        )
        for each in positions
    }


def _in_liquidation(scene: Scene) -> None:
    itself = [scene.subject.account_id]
    others = sorted(scene.world.open_accounts) or itself
    claimant = scene.random.choice([*itself, scene.random.choice(others)])
    scene.terms["liquidator_id"] = claimant
    if "liquidator" in scene.request:
        scene.request["liquidator"]["liquidator_id"] = claimant


def _ratio_at_its_range(scene: Scene) -> None:
    bound = scene.random.choice([0, ONE, -HIGHEST, HIGHEST])
    scene.random.choice(scene.ratios)["ratio_qty_request"] = beside(scene.random, bound)


def _other_shape(scene: Scene) -> None:
    """A shape of the other tier, or a symbol that is not there."""
    kind = scene.random.randint(0, 3)
    if kind == 0:
        scene.terms["limit_price"] = {"PERP_NONE_USDC": "1"}
    elif kind == 1 and scene.sent is not None:
        low = scene.sent["tier"] == "TIER_LOW"
        scene.sent["tier"] = "TIER_HIGH" if low else "TIER_LOW"
    else:
        for each in scene.terms.get("symbols", [])[-1:]:
            each["symbol"] = "PERP_NONE_USDC"


def _not_known(scene: Scene) -> None:
    """Of a liquidation that is not stored, or that is another account's."""
    if scene.sent is not None and scene.random.randint(0, 1):
        scene.sent["account_id"] = scene.world.stranger
        return
    if scene.random.randint(0, 1):
        scene.request.pop("liquidation", None)
    for part in (scene.terms, scene.sent or {}):
        part["liquidation_id"] = scene.world.unknown_id


# In this order: what is claimed is settled before the liquidator's margin is put beside it.
TWISTS: list[Callable[[Scene], None]] = [
    _margin,
    _extra,
    _limits,
    _liquidator,
    _in_liquidation,
    _ratio_at_its_range,
    _other_shape,
    _not_known,
]
