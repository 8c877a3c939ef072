"""Requests for a decision: sound ones, those at a rule's bound, and broken ones."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from google.protobuf.message import Message

from liquidation.v1 import rules_service_pb2
from tests.attacks.differential.calls import Json
from tests.attacks.differential.drawing.malformed import break_one, with_unknown_field
from tests.attacks.differential.drawing.numbers import amount, beside, chance, ratio
from tests.attacks.differential.drawing.snapshots import (
    Thresholds,
    margin_positions,
    put_margin_at_bound,
    snapshot,
)
from tests.attacks.oracle.drawing import HIGHEST, ONE, units_of, written

__all__ = ["Subject", "World", "check_request"]


@dataclass(frozen=True)
class Subject:
    """An account, and what is stored of it; None where nothing is."""

    account_id: str
    liquidation_id: int
    revision: int
    stored: Json | None


@dataclass(frozen=True)
class World:
    """What the requests of a lane meet. `claimant` is a liquidator of this lane alone."""

    thresholds: Thresholds
    subjects: list[Subject]
    claimant: str
    unknown_id: int

    @property
    def stranger(self) -> str:
        """An account that nothing is stored of."""
        return f"stranger-{self.claimant}"


@dataclass
class _Scene:
    random: Random
    world: World
    subject: Subject
    request: Json
    liquidation: Json

    @property
    def terms(self) -> Json:
        terms: Json = self.request["terms"]
        return terms

    @property
    def ratios(self) -> list[Json]:
        return self.terms.get("symbols") or [self.terms]

    def claim_all(self) -> None:
        for each in self.ratios:
            each["ratio_qty_request"] = "1"


def check_request(random: Random, world: World) -> Message:
    """A CheckClaimRequest, of whatever kind."""
    subject = random.choice(world.subjects)
    request: Json = {}
    liquidation = subject.stored
    if liquidation is None or random.randrange(2):
        revision = subject.revision + random.choice((-1, 0, 0, 1, 1))
        liquidation = request["liquidation"] = snapshot(
            random, world.thresholds, subject.liquidation_id, subject.account_id, max(1, revision)
        )
    request["terms"] = _terms(random, world, subject, liquidation)
    scene = _Scene(random, world, subject, request, liquidation)
    for twist in _TWISTS:
        if chance(random, 6):
            twist(scene)
    if chance(random, 6):
        break_one(random, request, world.unknown_id)
    if chance(random, 5):
        request["explain"] = True
    message = rules_service_pb2.CheckClaimRequest(**request)
    return with_unknown_field(random, message) if chance(random, 25) else message


def _terms(random: Random, world: World, subject: Subject, liquidation: Json) -> Json:
    terms: Json = {"liquidation_id": subject.liquidation_id, "liquidator_id": world.claimant}
    positions = liquidation["positions"]
    if liquidation["tier"] == 1:
        terms["ratio_qty_request"] = _ratio(random, world.thresholds.low, positions)
    else:
        chosen = random.sample(positions, random.randint(1, min(3, len(positions))))
        terms["symbols"] = [
            {
                "symbol": each["symbol"],
                "ratio_qty_request": _ratio(random, world.thresholds.high, [each]),
            }
            for each in chosen
        ]
    return terms


def _ratio(random: Random, threshold: int, positions: list[Json]) -> str:
    """A ratio that takes about the threshold, or any other."""
    total = sum(
        abs(units_of(each["position_qty"])) * units_of(each["mark_price"]) // ONE
        for each in positions
    )
    if total > threshold and random.randrange(2):
        return beside(random, -(-threshold * ONE // total))
    return beside(random, ratio(random)) if chance(random, 3) else written(ratio(random))


def _extra(scene: _Scene) -> None:
    scene.terms["extra_liquidation_ratio"] = beside(
        scene.random, scene.random.choice((0, ONE, ONE // 20, ONE // 2))
    )
    if scene.random.randrange(3):
        scene.claim_all()


def _margin(scene: _Scene) -> None:
    sent = scene.request.get("liquidation")
    if sent is not None and "account" not in sent:
        put_margin_at_bound(scene.random, sent)


def _limits(scene: _Scene) -> None:
    random, positions = scene.random, scene.liquidation["positions"]
    if random.randrange(3):
        scene.claim_all()
    chosen = random.sample(positions, random.randint(1, min(3, len(positions))))
    scene.terms["limit_price"] = {
        each["symbol"]: beside(
            random, random.choice((*[units_of(each["mark_price"])] * 4, 0, -HIGHEST))
        )
        for each in chosen
    }


def _liquidator(scene: _Scene) -> None:
    random, positions = scene.random, scene.liquidation["positions"]
    if random.randrange(3):
        scene.claim_all()
    account: Json = {
        "positions": margin_positions(random, positions),
        "max_leverage": random.choice(("10", "3", "50", "1", written(1), written(HIGHEST))),
    }
    value = sum(
        abs(units_of(each["position_qty"])) * units_of(each["mark_price"]) // ONE
        for each in positions
    )
    choices = (value // 10, value // 3, value, amount(random), HIGHEST, 0, -ONE)
    account["collateral_value"] = beside(random, random.choice(choices))
    if chance(random, 6):
        account["positions"].pop()
    if chance(random, 6):
        for each in account["positions"]:
            del each["base_mmr"]
    if chance(random, 4):
        account["positions"].append({**positions[0], "symbol": "OTHER", "base_imr": "0.1"})
    sent: Json = {"liquidator_id": scene.terms["liquidator_id"], "account": account}
    if chance(random, 8):
        sent["liquidator_id"] = random.choice(("", "somebody-else"))
    scene.request["liquidator"] = sent


def _in_liquidation(scene: _Scene) -> None:
    accounts = [each.account_id for each in scene.world.subjects]
    claimant = scene.random.choice([scene.subject.account_id, *accounts])
    scene.terms["liquidator_id"] = claimant
    if "liquidator" in scene.request:
        scene.request["liquidator"]["liquidator_id"] = claimant


def _ratio_at_its_range(scene: _Scene) -> None:
    bound = scene.random.choice((0, ONE, -HIGHEST, HIGHEST))
    scene.random.choice(scene.ratios)["ratio_qty_request"] = beside(scene.random, bound)


def _other_shape(scene: _Scene) -> None:
    sent: Any = scene.request.get("liquidation")
    kind = scene.random.randrange(3)
    if kind == 0:
        scene.terms["limit_price"] = {"PERP_NONE_USDC": "1"}
    elif kind == 1 and sent is not None:
        sent["tier"] = 3 - sent["tier"]
    else:
        for each in scene.terms.get("symbols", [])[-1:]:
            each["symbol"] = "PERP_NONE_USDC"


def _not_known(scene: _Scene) -> None:
    sent = scene.request.get("liquidation")
    if sent is not None and scene.random.randrange(2):
        sent["account_id"] = scene.world.stranger
        return
    if scene.random.randrange(2):
        scene.request.pop("liquidation", None)
    for part in (scene.terms, sent or {}):
        part["liquidation_id"] = scene.world.unknown_id


_TWISTS: Final[tuple[Callable[[_Scene], None], ...]] = (
    _margin,
    _extra,
    _limits,
    _liquidator,
    _in_liquidation,
    _ratio_at_its_range,
    _other_shape,
    _not_known,
)
