"""One request in a world: sound and at some bound, then twisted, so a rule is near or broken."""

from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.attacks.oracle import drawing
from tests.attacks.oracle.answers import Answer, State
from tests.attacks.oracle.drawing import ONE, beside, units_of, written
from tests.attacks.oracle.evaluator import evaluate
from tests.attacks.oracle.malformed import BREAKS
from tests.attacks.oracle.margins import notional
from tests.attacks.oracle.numbers import four_digits_up, number
from tests.attacks.oracle.snapshots import SPREAD, drawn_snapshot
from tests.attacks.oracle.twists import TWISTS, Scene
from tests.attacks.oracle.worlds import Subject, World

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A request, and what it meets in its world."""

    world: World
    request: Json
    unknown_field_in: str | None

    @property
    def state(self) -> State:
        return self.world.state(self.request)

    def answer(self) -> Answer:
        """The answer that the contract asks for."""
        return evaluate(
            self.request,
            self.state,
            self.world.in_force,
            unknown_field=self.unknown_field_in is not None,
        )


def drawn_case(random: Random, world: World) -> Case:
    """A request in `world`; of those that are sound most are near a bound."""
    subject = random.choice(world.subjects)
    request: Json = {}
    if subject.stored is None or random.randint(0, 2):
        request["liquidation"] = _sent(random, world, subject)
    liquidation = _decided_on(subject, request)
    terms = request["terms"] = {
        "liquidation_id": liquidation["liquidation_id"],
        "liquidator_id": world.claimant,
    }
    _claim(random, terms, liquidation, units_of(world.in_force.thresholds[liquidation["tier"]]))
    scene = Scene(random, world, subject, request, liquidation)
    _twist(scene)
    if random.randint(0, 3) == 0:
        request["explain"] = True
    return Case(world, request, scene.unknown_field_in)


def _twist(scene: Scene) -> None:
    """Some twists of a sound request, in their order; of those that break it, seldom one."""
    chosen = scene.random.sample(range(len(TWISTS)), scene.random.choice([0, 1, 1, 2, 3]))
    for index in sorted(chosen):
        TWISTS[index](scene)
    if scene.random.randint(0, 6) == 0:
        scene.random.choice(BREAKS)(scene)


def _sent(random: Random, world: World, subject: Subject) -> Json:
    revision = max(1, subject.revision + random.randint(-1, 1))
    if subject.stored is not None and random.randint(0, 3) == 0:
        return deepcopy(subject.stored) | {"revision": revision}
    ids = subject.liquidation_id, subject.account_id
    return drawn_snapshot(random, world.in_force, *ids, revision)


def _decided_on(subject: Subject, request: Json) -> Json:
    sent: Json | None = request.get("liquidation")
    stored = subject.stored
    if stored is None or (sent is not None and sent["revision"] >= stored["revision"]):
        assert sent is not None
        return sent
    return stored


def _claim(random: Random, terms: Json, liquidation: Json, threshold: int) -> None:
    """Ratios in the shape of the tier: any, or such that just the threshold is taken."""
    positions = liquidation["positions"]
    if liquidation["tier"] == "TIER_LOW":
        values = sum(map(notional, positions))
        terms["ratio_qty_request"] = _ratio(random, values, threshold)
        return
    count = len(positions) if random.randint(0, 1) else random.randint(1, len(positions))
    terms["symbols"] = [
        {
            "symbol": each["symbol"],
            "ratio_qty_request": _ratio(random, notional(each), threshold),
        }
        for each in random.sample(positions, count)
    ]


def _ratio(random: Random, value: Any, threshold: int) -> str:
    kind = random.randint(0, 5)
    exact = number(written(threshold)) / value
    if kind <= 1:
        return written(drawing.ratio(random))
    if exact > 1 or kind == 2:
        return random.choice(["1", "1", "1.000", "0.999999999999999999"])
    if kind == 3:
        return beside(random, ONE // random.choice(SPREAD))
    if kind == 4:
        return beside(random, drawing.units(four_digits_up(exact)))
    # The least that passes, or a step beside it; a negative one is not meant here.
    return beside(random, max(1, -(-exact.numerator * ONE // exact.denominator)))
