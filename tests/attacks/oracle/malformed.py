"""Changes after which a request is not well formed, or holds what the service does not know."""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.attacks.oracle.twists import Scene

Json = dict[str, Any]

_TEXTS = [
    "", "+1", "1e3", ".5", "5.", " 1", "1\n", "１", "NaN", "Infinity", "-", "1" * 19, "-0", "0.0",
    "0." + "1" * 19, "0x1", "1_0", "--1", "abc", "1,5", "-1", "0", "1." + "0" * 18, "0" * 18 + "1",
]  # fmt: skip
_NAMES = [
    "", "a" * 128, "a" * 129, "caf\u00e9", "tab\t", "line\n", "\x7f", "\u200b", " a", "a ",
]  # fmt: skip
_IDS = {"symbol", "account_id", "liquidator_id"}
_MOST = 256


def break_text(random: Random, request: Json) -> None:
    """One text of the request becomes another."""
    places = list(_places(request))
    if places:
        holder, key = random.choice(places)
        holder[key] = random.choice(_NAMES if key in _IDS else _TEXTS)


def _places(part: Any) -> list[tuple[Json, str]]:
    places: list[tuple[Json, str]] = []
    for key, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, str) and key != "tier":
            places.append((part, key))
        places += _places(value)
    for value in part if isinstance(part, list) else ():
        places += _places(value)
    return places


def break_shape(random: Random, request: Json, unknown_id: int) -> None:
    """One thing of the request is there too often, not at all, or out of its range."""
    terms, sent = request["terms"], request.get("liquidation")
    changes: list[Callable[[], object]] = [
        lambda: terms.update(liquidation_id=random.choice([0, -1, unknown_id])),
        lambda: terms.update(ratio_qty_request=random.choice(["1", ""])),
        lambda: terms.update(symbols=[]),
        lambda: terms.update(symbols=terms.get("symbols", []) * 2),
        lambda: terms.update(symbols=_many("ratio_qty_request"), ratio_qty_request=""),
        lambda: terms.update(limit_price={random.choice(_NAMES): "1"}),
        lambda: terms.update(limit_price={str(each): "1" for each in range(_MOST + 1)}),
        lambda: request.update(terms={}),
        lambda: request.update(liquidator={"liquidator_id": terms.get("liquidator_id", "")}),
    ]
    if sent is not None:
        changes += _changes_of_snapshot(random, sent)
    random.choice(changes)()


def _changes_of_snapshot(random: Random, sent: Json) -> list[Callable[[], object]]:
    first = sent["positions"][0]
    listed = sent.get("account", sent)["positions"]
    return [
        lambda: sent.update(tier="TIER_UNSPECIFIED"),
        lambda: sent.update(revision=random.choice([0, -1])),
        lambda: sent.update(positions=[]),
        lambda: sent.update(positions=sent["positions"] * 2),
        lambda: sent.update(positions=_many("position_qty", mark_price="1")),
        lambda: sent.update(margin_ratio="0.01", maintenance_margin_ratio="0.02"),
        lambda: sent.update(maintenance_margin_ratio=random.choice(["0", "-0", "-1"])),
        lambda: sent.update(account={}),
        lambda: [each.update(position_qty="0") for each in listed],
        lambda: first.update(position_qty=random.choice(["0", "-0.0"])),
        lambda: first.update(mark_price=random.choice(["0", "-0.0", "-1"])),
    ]


def _many(key: str, **others: str) -> list[Json]:
    """One entry more than there may be."""
    return [{"symbol": f"PERP_{index}_USDC", key: "1", **others} for index in range(_MOST + 1)]


def _unknown_field(scene: Scene) -> None:
    """In the request, or in a part of it that is there."""
    there = ["", "terms"] if scene.terms else [""]
    if scene.sent:
        there.append("liquidation")
        if scene.sent.get("positions"):
            there.append("liquidation.positions[0]")
    if "account" in scene.request.get("liquidator", {}):
        there.append("liquidator.account")
    scene.unknown_field_in = scene.random.choice(there)


BREAKS: list[Callable[[Scene], None]] = [
    lambda scene: break_shape(scene.random, scene.request, scene.world.unknown_id),
    lambda scene: break_text(scene.random, scene.request),
    _unknown_field,
]
