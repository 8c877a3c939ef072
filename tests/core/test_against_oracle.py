"""The service and a second reading of the contract answer the same, whatever is asked.

Cases are drawn around every bound: the number that just passes, the one that just does not, and
the smallest step between them.
"""

import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, note
from hypothesis import strategies as st

from liquidation.core.model import ActiveClaim, Standing, Verdict
from liquidation.core.numbers import Ratio, plain
from liquidation.core.policy import Policy, read_policy
from tests import samples
from tests.core import oracle
from tests.core.deciding import stored, verdict_on
from tests.core.drawing import LARGEST, SMALLEST
from tests.core.oracle import Answer, InForce, State
from tests.core.seeded import seeded

Json = dict[str, Any]

STEP = Fraction(1, 10**18)
LIMIT = Fraction(10**18)

# Modes of these may be changed; the others hold up what later rules look at.
RELAXABLE = sorted(set(oracle.RULES) - {"well_formed", "liquidation_known", "tier_shape"})

MALFORMED = [
    "", "+1", "1e3", ".5", "5.", " 1", "1\n", "１", "NaN", "Infinity", "-", "1" * 19,
    "0." + "1" * 19, "0x1", "1_0", "--1", "abc", "1,5",
]  # fmt: skip
BAD_NAMES = ["", "a" * 129, "caf\u00e9", "tab\t", "line\n", "\x7f", "\u200b"]
PARTS_FOR_UNKNOWN = ["", "terms", "liquidation", "liquidation.positions[0]", "liquidator.account"]


@dataclass(frozen=True)
class Drawn:
    """A request, and what it meets."""

    request: Json
    state: State
    in_force: InForce
    unknown_field_in: str | None


def _clipped(number: Fraction) -> str:
    """The nearest text that a caller can write: 18 decimals, and below 10^18."""
    bounded = max(-LIMIT + STEP, min(number, LIMIT - STEP))
    return oracle.shown(Fraction((bounded / STEP).__floor__()) * STEP)


def _beside(draw: st.DrawFn, number: Fraction) -> str:
    """`number`, or the smallest step to one side of it."""
    return _clipped(number + draw(st.integers(-1, 1)) * STEP)


_DIGITS = [1, 3, 5, 18]


@st.composite
def _amount(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from([LARGEST, SMALLEST, "1.000", "000002.50"]))
    decimals = draw(st.sampled_from([0, 1, 4, 18]))
    number = draw(st.integers(1, 10 ** min(18, draw(st.sampled_from(_DIGITS)) + decimals)))
    return _clipped(Fraction(number, 10**decimals))


@st.composite
def _ratio(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        return draw(
            st.sampled_from(["1", "1", "1.000", "0.5", "0.999999999999999999", "0", "-0", SMALLEST])
        )
    return _clipped(Fraction(draw(st.integers(1, 10**18)), 10**18))


def _threshold(draw: st.DrawFn, ratios: list[Fraction], notionals: list[Fraction]) -> str:
    """The usual one, or one that a ratio of the request just reaches or just misses."""
    index = draw(st.integers(0, len(notionals) - 1))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(st.sampled_from(["10000", "5000", "0", LARGEST, "0.1"]))
    reached = notionals[index] * (1 if kind == 1 else ratios[index])
    return _clipped(max(Fraction(0), Fraction(_beside(draw, reached))))


@st.composite
def _sound(draw: st.DrawFn) -> tuple[Json, Json]:
    """A request that is well formed, and the thresholds: often at the bound of a rule."""
    low = draw(st.booleans())
    symbols = [f"PERP_{index}_USDC" for index in range(draw(st.integers(1, 3)))]
    positions: list[Json] = [
        {
            "symbol": symbol,
            "position_qty": draw(st.sampled_from(["", "-"])) + draw(_amount()),
            "mark_price": draw(_amount()),
        }
        for symbol in symbols
    ]
    by_symbol = {
        each["symbol"]: abs(Fraction(each["position_qty"]) * Fraction(each["mark_price"]))
        for each in positions
    }
    terms: Json = {"liquidation_id": 7, "liquidator_id": "liquidator-1"}
    if low:
        terms["ratio_qty_request"] = draw(_ratio())
        notionals = [sum(by_symbol.values(), Fraction(0))]
        ratios = [Fraction(terms["ratio_qty_request"])]
    else:
        named = draw(st.permutations(symbols))[: draw(st.integers(1, len(symbols)))]
        terms["symbols"] = [{"symbol": each, "ratio_qty_request": draw(_ratio())} for each in named]
        notionals = [by_symbol[each] for each in named]
        ratios = [Fraction(each["ratio_qty_request"]) for each in terms["symbols"]]
    threshold = _threshold(draw, ratios, notionals)
    liquidation: Json = {
        "liquidation_id": 7,
        "account_id": "account-1",
        "tier": "TIER_LOW" if low else "TIER_HIGH",
        "positions": positions,
        "margin_ratio": "0.01",
        "maintenance_margin_ratio": "0.02",
        "revision": draw(st.integers(2, 4)),
    }
    return {"terms": terms, "liquidation": liquidation}, {
        "TIER_LOW": threshold if low else "10000",
        "TIER_HIGH": "5000" if low else threshold,
    }


def _margin_positions(draw: st.DrawFn, positions: list[Json]) -> list[Json]:
    factor = draw(st.sampled_from(["0", "0.0000002", "0.000001", "0.5", LARGEST, SMALLEST]))
    return [
        {
            "symbol": each["symbol"],
            "position_qty": draw(st.sampled_from([each["position_qty"], "0", "-1.5", "1000"])),
            "mark_price": each["mark_price"],
            "base_mmr": draw(st.sampled_from(["0.012", "0.003", "1"])),
            "base_imr": draw(st.sampled_from(["0.02", "0.1", "0.03"])),
            "imr_factor": factor,
        }
        for each in positions
    ]


# Each twist changes a sound request or what it meets, so that one rule is near or broken.


@dataclass
class Scene:
    """What a twist may change."""

    request: Json
    state: Json
    thresholds: Json
    modes: dict[str, str]
    unknown_field_in: str | None = None

    @property
    def terms(self) -> Json:
        terms: Json = self.request["terms"]
        return terms

    @property
    def liquidation(self) -> Json:
        """The snapshot, sent or stored."""
        liquidation: Json = self.request.get("liquidation") or self.state["stored"]
        return liquidation


def _extra(draw: st.DrawFn, scene: Scene) -> None:
    bounds = [Fraction(0), Fraction(1), Fraction(1, 2)]
    scene.terms["extra_liquidation_ratio"] = _beside(draw, draw(st.sampled_from(bounds)))
    if draw(st.booleans()):
        _claim_all(scene)


def _claim_all(scene: Scene) -> None:
    """The whole may always be claimed, so rules behind `least_request_ratio` get their turn."""
    for each in scene.terms.get("symbols", [scene.terms]):
        each["ratio_qty_request"] = "1"


def _ratio_at_its_range(draw: st.DrawFn, scene: Scene) -> None:
    bound = draw(st.sampled_from([Fraction(0), Fraction(1), -LIMIT, LIMIT]))
    entries = scene.terms.get("symbols", [scene.terms])
    draw(st.sampled_from(entries))["ratio_qty_request"] = _beside(draw, bound)


def _least_ratio(draw: st.DrawFn, scene: Scene) -> None:
    """Asks for the ratio that a refusal would name, or just beside it."""
    answer = oracle.evaluate(scene.request, State(), InForce(scene.thresholds))
    if not answer.least_req_ratio:
        return
    for each in scene.terms.get("symbols", [scene.terms]):
        each["ratio_qty_request"] = _beside(draw, Fraction(answer.least_req_ratio))


def _margin_at_its_bound(draw: st.DrawFn, scene: Scene) -> None:
    maintenance = draw(st.sampled_from(["0.02", "1", SMALLEST, LARGEST]))
    scene.liquidation["maintenance_margin_ratio"] = maintenance
    scene.liquidation["margin_ratio"] = _beside(draw, Fraction(maintenance))


def _margin_account(draw: st.DrawFn, scene: Scene) -> None:
    account: Json = {"positions": _margin_positions(draw, scene.liquidation["positions"])}
    if all(each["position_qty"] == "0" for each in account["positions"]):
        account["positions"][0]["position_qty"] = "-1.5"
    needed = oracle.maintenance_margin(account)
    account["collateral_value"] = draw(st.sampled_from([_beside(draw, needed), "0", "-5"]))
    del scene.liquidation["margin_ratio"], scene.liquidation["maintenance_margin_ratio"]
    scene.liquidation["account"] = account


def _liquidator(draw: st.DrawFn, scene: Scene) -> None:
    if draw(st.booleans()):
        _claim_all(scene)
    account: Json = {
        "positions": _margin_positions(draw, scene.liquidation["positions"]),
        "max_leverage": draw(st.sampled_from(["10", "3", "50", "1"])),
    }
    by_symbol = {each["symbol"]: each for each in scene.liquidation["positions"]}
    named = scene.terms.get("symbols") or [
        {"symbol": each, "ratio_qty_request": scene.terms["ratio_qty_request"]}
        for each in by_symbol
    ]
    extra = Fraction(scene.terms.get("extra_liquidation_ratio", "0"))
    taken = {
        each["symbol"]: Fraction(by_symbol[each["symbol"]]["position_qty"])
        * (Fraction(each["ratio_qty_request"]) + extra)
        for each in named
    }
    account["collateral_value"] = _beside(draw, oracle.initial_margin(account, taken))
    if draw(st.integers(0, 5)) == 0:
        account["positions"].pop()
    scene.request["liquidator"] = {"liquidator_id": "liquidator-1", "account": account}


def _limits(draw: st.DrawFn, scene: Scene) -> None:
    _claim_all(scene)
    position = draw(st.sampled_from(scene.liquidation["positions"]))
    limit = _beside(draw, Fraction(position["mark_price"]))
    scene.terms["limit_price"] = {position["symbol"]: limit}


def _stored_instead(_: st.DrawFn, scene: Scene) -> None:
    if sent := scene.request.pop("liquidation", None):
        scene.state["stored"] = sent


def _stored_beside(draw: st.DrawFn, scene: Scene) -> None:
    """A stored snapshot of another revision, with other positions."""
    other = deepcopy(scene.liquidation)
    other["revision"] = max(1, other["revision"] + draw(st.integers(-1, 1)))
    other["positions"][0]["position_qty"] = draw(_amount())
    if draw(st.integers(0, 5)) == 0:
        other["account_id"] = "account-2"
    scene.state["stored"] = other


def _nothing_known(_: st.DrawFn, scene: Scene) -> None:
    scene.request.pop("liquidation", None)
    scene.state["stored"] = None


def _closed(_: st.DrawFn, scene: Scene) -> None:
    scene.state |= {"stored": deepcopy(scene.liquidation), "closed": True}


def _claims(draw: st.DrawFn, scene: Scene) -> None:
    if draw(st.integers(0, 3)) == 0:
        scene.state["active_claim"] = True
    else:
        revision = scene.liquidation["revision"] + draw(st.integers(-1, 1))
        scene.state["last_completed_revision"] = revision


def _in_liquidation(draw: st.DrawFn, scene: Scene) -> None:
    if draw(st.booleans()):
        scene.terms["liquidator_id"] = scene.liquidation["account_id"]
    else:
        other = draw(st.sampled_from(["liquidator-1", "liquidator-2"]))
        scene.state["open_accounts"] = frozenset({other})


def _other_shape(draw: st.DrawFn, scene: Scene) -> None:
    """A shape of the other tier, or a symbol that is not there."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        scene.liquidation["tier"] = "TIER_HIGH"
    elif kind == 1:
        scene.liquidation["tier"] = "TIER_LOW"
    elif kind == 2:
        scene.terms["limit_price"] = {"PERP_NONE_USDC": "1"}
    else:
        for each in scene.terms.get("symbols", [])[-1:]:
            each["symbol"] = "PERP_NONE_USDC"


def _unknown_field(draw: st.DrawFn, scene: Scene) -> None:
    """In the request, or in a part of it that is there."""
    sent = scene.request.get("liquidation", {})
    there = [part for part in PARTS_FOR_UNKNOWN if part.split(".")[0] in {"", *scene.request}]
    if not sent.get("positions"):
        there = [part for part in there if "positions" not in part]
    scene.unknown_field_in = draw(st.sampled_from(there))


def _malformed_text(draw: st.DrawFn, scene: Scene) -> None:
    """One text of the request becomes another."""
    places = list(_texts(scene.request))
    if not places:
        return
    holder, key = draw(st.sampled_from(places))
    bad = BAD_NAMES if key in {"symbol", "account_id", "liquidator_id"} else MALFORMED
    holder[key] = draw(st.sampled_from(bad))


def _texts(part: Any) -> list[tuple[Json, str]]:
    places: list[tuple[Json, str]] = []
    for key, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, str) and key != "tier":
            places.append((part, key))
        places += _texts(value)
    for value in part if isinstance(part, list) else ():
        places += _texts(value)
    return places


def _malformed_shape(draw: st.DrawFn, scene: Scene) -> None:
    terms = scene.terms
    # The stored one has been read before, so it is well formed.
    sent = scene.request.get("liquidation")
    changes: list[Callable[[], object]] = [
        lambda: terms.update(liquidation_id=draw(st.sampled_from([0, -1, 8]))),
        lambda: terms.update(ratio_qty_request=draw(st.sampled_from(["1", ""]))),
        lambda: terms.update(symbols=[]),
        lambda: terms.update(symbols=terms.get("symbols", []) * 2),
        lambda: terms.update(limit_price={draw(st.sampled_from(BAD_NAMES)): "1"}),
        lambda: scene.request.update(terms={}),
        lambda: scene.request.update(liquidator={"liquidator_id": "liquidator-1"}),
    ]
    if sent is not None:
        first = sent["positions"][0]
        changes += [
            lambda: sent.update(tier="TIER_UNSPECIFIED"),
            lambda: sent.update(revision=draw(st.sampled_from([0, -1]))),
            lambda: sent.update(positions=[]),
            lambda: sent.update(positions=sent["positions"] * 2),
            lambda: sent.update(margin_ratio="0.01", maintenance_margin_ratio="0.02"),
            lambda: sent.update(maintenance_margin_ratio=draw(st.sampled_from(["0", "-0", "-1"]))),
            lambda: sent.update(account={}),
            lambda: [each.update(position_qty="0") for each in _listed(sent)],
            lambda: first.update(position_qty=draw(st.sampled_from(["0", "-0.0"]))),
            lambda: first.update(mark_price=draw(st.sampled_from(["0", "-0.0", "-1"]))),
        ]
    draw(st.sampled_from(changes))()


def _listed(liquidation: Json) -> list[Json]:
    """The positions of the snapshot's account; without one its own."""
    positions: list[Json] = liquidation.get("account", liquidation)["positions"]
    return positions


def _modes(draw: st.DrawFn, scene: Scene) -> None:
    for _ in range(draw(st.integers(1, 3))):
        mode = draw(st.sampled_from(["shadow", "off", "enforce"]))
        scene.modes[draw(st.sampled_from(RELAXABLE))] = mode


# In this order: those that need a sound request come first.
TWISTS: list[Callable[[st.DrawFn, Scene], None]] = [
    _least_ratio, _extra, _margin_at_its_bound, _margin_account, _liquidator, _limits, _claims,
    _stored_beside, _stored_instead, _in_liquidation, _modes, _ratio_at_its_range, _other_shape,
    _closed, _nothing_known, _malformed_shape, _malformed_text, _unknown_field,
]  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Drawn:
    request, thresholds = draw(_sound())
    scene = Scene(request, {}, thresholds, {})
    chosen = draw(st.lists(st.integers(0, len(TWISTS) - 1), max_size=3, unique=True))
    if len(chosen) == 3 and draw(st.booleans()):
        chosen.append(TWISTS.index(_modes))
    for index in sorted(set(chosen)):
        if TWISTS[index] is not _least_ratio or "stored" not in scene.state:
            TWISTS[index](draw, scene)
    return Drawn(
        scene.request,
        State(**scene.state),
        InForce(scene.thresholds, scene.modes),
        scene.unknown_field_in,
    )


def _policy(in_force: InForce) -> Policy:
    modes = "\n".join(f'{rule} = "{mode}"' for rule, mode in in_force.modes.items())
    return read_policy(
        f"""
        version = "drawn"
        [tiers]
        low = {{ min_claim_notional = "{in_force.thresholds["TIER_LOW"]}" }}
        high = {{ min_claim_notional = "{in_force.thresholds["TIER_HIGH"]}" }}
        [modes]
        {modes}
        """
    )


def _standing(drawn: Drawn) -> Standing:
    state = drawn.state
    claimant = drawn.request["terms"].get("liquidator_id", "")
    return Standing(
        None if state.stored is None else stored(dict(state.stored)),
        state.closed,
        claimant in state.open_accounts,
        ActiveClaim("claim-1", Decimal(12)) if state.active_claim else None,
        state.last_completed_revision,
    )


def _text(number: Ratio | None) -> str:
    return "" if number is None else plain(number)


def _answer(verdict: Verdict) -> Answer:
    refusal = verdict.refusal
    numbers = {}
    if refusal is not None and refusal.row.code == -1201:
        numbers = dict(refusal.values)
    return Answer(
        code=0 if refusal is None else refusal.row.code,
        words="" if refusal is None else refusal.message,
        rule="" if refusal is None else refusal.rule,
        total_notional=_text(verdict.total_notional),
        least_req_ratio=_text(verdict.least_req_ratio),
        margin_ratio=_text(verdict.margin_ratio),
        maintenance_margin_ratio=_text(verdict.maintenance_margin_ratio),
        revision=verdict.liquidation_revision,
        positions=tuple(
            (each.symbol, plain(each.qty), plain(each.max_qty), plain(each.notional))
            for each in verdict.positions
        ),
        numbers=numbers,
        shadow=tuple((each.rule, each.row.code, each.message) for each in verdict.shadow),
    )


def test_every_drawn_request_is_answered_as_the_contract_says() -> None:
    seen: Counter[str] = Counter()

    @seeded(1500)
    @given(cases())
    def agree(drawn: Drawn) -> None:
        expected = oracle.evaluate(
            drawn.request,
            drawn.state,
            drawn.in_force,
            unknown_field=drawn.unknown_field_in is not None,
        )
        seen[expected.rule] += 1
        note(json.dumps(drawn.request))
        given_answer = _answer(
            verdict_on(
                drawn.request,
                policy=_policy(drawn.in_force),
                standing=_standing(drawn),
                unknown_field_in=drawn.unknown_field_in,
            )
        )
        assert given_answer == expected

    agree()

    # A run that never meets a rule proves nothing about it; "" is a claim that is accepted.
    assert {"", *oracle.RULES} <= {rule for rule, count in seen.items() if count >= 3}, seen


def test_the_sample_requests_are_accepted_by_both() -> None:
    for request in (
        samples.low_request(liquidator=samples.liquidator()),
        samples.high_request(),
    ):
        expected = oracle.evaluate(request, State(), InForce())

        assert expected.code == 0
        assert _answer(verdict_on(request)) == expected
