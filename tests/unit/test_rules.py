"""The thirteen rules at their bounds, in their order and in their modes."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from liquidation.rules.checks import RULES
from liquidation.rules.errors import GrpcCode
from liquidation.rules.model import ActiveClaim, Outcome, Refusal, StoredState, Tier
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from tests import samples
from tests.unit.deciding import decision_on, stored
from tests.unit.drawing import LARGEST, SMALLEST, amounts, ratios, signed
from tests.unit.seeded import seeded

Json = dict[str, Any]

STEP = SMALLEST
JUST_BELOW_1 = "0.999999999999999999"
JUST_ABOVE_1 = "1.000000000000000001"
SOL, DOGE = "PERP_SOL_USDC", "PERP_DOGE_USDC"
BTC, ETH = "PERP_BTC_USDC", "PERP_ETH_USDC"

INVALID = GrpcCode.INVALID_ARGUMENT
PRECONDITION = GrpcCode.FAILED_PRECONDITION

FORMAT = (-1005, INVALID, "Some parameters are in wrong format for api.")
UNKNOWN = (-1004, INVALID, "An unknown parameter was sent.")
RATIO_RANGE = (-1005, INVALID, "ratio_qty_request should be in range 0-1.")
EXTRA_RANGE = (-1005, INVALID, "extra_liquidation_ratio should be in range 0-1.")
FULL_RATIO = (
    -1005,
    INVALID,
    "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1.",
)
NOT_FOUND = (-1202, GrpcCode.NOT_FOUND, "Can not find given liquidationId.")
IN_PROCESS = (-1012, GrpcCode.ABORTED, "Another liquidation is in process")
IN_LIQUIDATION = (
    -1012,
    GrpcCode.ABORTED,
    (
        "The place/cancel order request is rejected by internal module, it may because the account "
        "is in liquidation or other internal errors. Please try again in a few seconds."
    ),
)
ENOUGH = (-1202, PRECONDITION, "No need to liquidation because user margin is enough.")
PRICE = (-1103, PRECONDITION, "The order price is not following the scope or range rules.")
MARGIN = (-1101, PRECONDITION, "The margin will be insufficient after.")


def _least(ratio: str) -> tuple[int, GrpcCode, str]:
    return -1201, PRECONDITION, f"least req ratio should = {ratio}"


def _total_below(threshold: str) -> tuple[int, GrpcCode, str]:
    words = f"total notional < {threshold}, least req ratio should = 1"
    return -1201, PRECONDITION, words


@dataclass(frozen=True)
class Bound:
    """A request at a bound. `refused` is code, gRPC code and words; None where it is accepted."""

    fact: str
    request: Json
    refused: tuple[int, GrpcCode, str] | None = None
    rule: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    state: StoredState | None = None
    policy: Policy | None = None
    unknown_field_in: str | None = None


def _low(ratio: str = "1", terms: Json | None = None, **liquidation: Any) -> Json:
    return samples.low_request({"ratio_qty_request": ratio} | (terms or {}), liquidation)


def _high(*named: tuple[str, str], terms: Json | None = None, **liquidation: Any) -> Json:
    symbols = [{"symbol": symbol, "ratio_qty_request": ratio} for symbol, ratio in named]
    return samples.high_request({"symbols": symbols} | (terms or {}), liquidation)


def _one(quantity: str, price: str, symbol: str = BTC) -> list[Json]:
    return [{"symbol": symbol, "position_qty": quantity, "mark_price": price}]


def _many(count: int) -> list[Json]:
    return [
        {"symbol": f"PERP_{index}_USDC", "position_qty": "1", "mark_price": "10000"}
        for index in range(count)
    ]


def _without(request: Json, *parts: str) -> Json:
    return {key: value for key, value in request.items() if key not in parts}


KNOWN_FIELDS = [
    Bound(f"a field nobody knows in {part or 'the request'}", request, UNKNOWN,
          "known_fields", unknown_field_in=part)
    for part, request in {
        "": samples.low_request(),
        "terms": samples.low_request(),
        "terms.symbols[1]": samples.high_request(),
        "liquidation": samples.low_request(),
        "liquidation.positions[1]": samples.low_request(),
        "liquidation.snapshot_time": samples.low_request(),
        "liquidator": samples.low_request(liquidator=samples.liquidator()),
        "liquidator.account": samples.low_request(liquidator=samples.liquidator()),
        "liquidator.account.positions[0]": samples.low_request(liquidator=samples.liquidator()),
    }.items()
]  # fmt: skip

WELL_FORMED = [
    Bound("an id of 128 characters", _low(terms={"liquidator_id": "a" * 128})),
    Bound("an id of 129 characters", _low(terms={"liquidator_id": "a" * 129}), FORMAT),
    Bound("an id of every printable character", _low(terms={"liquidator_id": " ~!"})),
    Bound("an id with a character behind the last printable",
          _low(terms={"liquidator_id": "\x7f"}), FORMAT),
    Bound("an id with a character before the first printable",
          _low(terms={"liquidator_id": "\x1f"}), FORMAT),
    Bound("no liquidator_id", _low(terms={"liquidator_id": ""}), FORMAT),
    Bound("liquidation_id 0", _low(terms={"liquidation_id": 0}, liquidation_id=0), FORMAT),
    Bound("liquidation_id -1", _low(terms={"liquidation_id": -1}, liquidation_id=-1), FORMAT),
    Bound("liquidation_id 1", _low(terms={"liquidation_id": 1}, liquidation_id=1)),
    Bound("the largest liquidation_id",
          _low(terms={"liquidation_id": 2**63 - 1}, liquidation_id=2**63 - 1)),
    Bound("another liquidation_id in the terms", _low(terms={"liquidation_id": 102}), FORMAT),
    Bound("revision 0", _low(revision=0), FORMAT),
    Bound("revision 1", _low(revision=1)),
    Bound("the largest revision", _low(revision=2**63 - 1)),
    Bound("no tier", _low(tier="TIER_UNSPECIFIED"), FORMAT),
    Bound("no position", _low(positions=[]), FORMAT),
    Bound("256 positions", _low(positions=_many(256))),
    Bound("257 positions", _low(positions=_many(257)), FORMAT),
    Bound("a symbol twice in the snapshot", _low(positions=_one("1", "1") * 2), FORMAT),
    Bound("a quantity of zero", _low(positions=_one("0", "20000")), FORMAT),
    Bound("a quantity of negative zero", _low(positions=_one("-0.0", "20000")), FORMAT),
    Bound("a mark price of zero", _low(positions=_one("1", "0")), FORMAT),
    Bound("a mark price below zero", _low(positions=_one("1", "-20000")), FORMAT),
    Bound("the smallest mark price", _low(positions=_one("1", STEP))),
    Bound("an MMR of zero", _low(margin_ratio="-1", maintenance_margin_ratio="0"), FORMAT),
    Bound("the smallest MMR", _low(margin_ratio="0", maintenance_margin_ratio=STEP)),
    Bound("256 symbols", _high(*[(f"PERP_{n}_USDC", "1") for n in range(256)],
                               positions=_many(256))),
    Bound("257 symbols", _high(*[(f"PERP_{n}_USDC", "1") for n in range(257)]), FORMAT),
    Bound("a symbol twice in the terms", _high((SOL, "0.5"), (SOL, "0.5")), FORMAT),
    Bound("symbols beside a ratio", _high((SOL, "1"), terms={"ratio_qty_request": "1"}), FORMAT),
    Bound("neither symbols nor a ratio", _low(""), FORMAT),
    Bound("18 digits on both sides", _low(positions=_one(LARGEST, LARGEST))),
    Bound("a ratio written 1.000", _low("1.000")),
    Bound("19 decimals", _low("0." + "9" * 19), FORMAT),
    Bound("an exponent", _low("1e0"), FORMAT),
]  # fmt: skip

RATIO_RANGE_BOUNDS = [
    Bound("below zero by a step", _low(f"-{STEP}"), RATIO_RANGE,
          values={"ratio_qty_request": f"-{STEP}"}),
    Bound("zero is in the range, and too small", _low("0"), _least("0.3334"),
          "least_request_ratio"),
    Bound("negative zero is zero", _low("-0"), _least("0.3334"), "least_request_ratio"),
    Bound("one", _low("1")),
    Bound("above one by a step", _low(JUST_ABOVE_1), RATIO_RANGE,
          values={"ratio_qty_request": JUST_ABOVE_1}),
    Bound("one of two symbols above one", _high((SOL, "1"), (DOGE, JUST_ABOVE_1)), RATIO_RANGE,
          values={"ratio_qty_request": JUST_ABOVE_1}),
    Bound("one of two symbols below zero", _high((SOL, f"-{STEP}"), (DOGE, "1")), RATIO_RANGE,
          values={"ratio_qty_request": f"-{STEP}"}),
]  # fmt: skip

EXTRA_RANGE_BOUNDS = [
    Bound("below zero by a step", _low(terms={"extra_liquidation_ratio": f"-{STEP}"}), EXTRA_RANGE,
          values={"extra_liquidation_ratio": f"-{STEP}"}),
    Bound("zero", _low(terms={"extra_liquidation_ratio": "0"})),
    Bound("one", _low(terms={"extra_liquidation_ratio": "1"})),
    Bound("above one by a step", _low(terms={"extra_liquidation_ratio": JUST_ABOVE_1}),
          EXTRA_RANGE, values={"extra_liquidation_ratio": JUST_ABOVE_1}),
]  # fmt: skip

FULL_RATIO_BOUNDS = [
    Bound("a step of extra beside a step less than the whole",
          _low(JUST_BELOW_1, {"extra_liquidation_ratio": STEP}), FULL_RATIO,
          values={"extra_liquidation_ratio": STEP, "ratio_qty_request": JUST_BELOW_1}),
    Bound("a step of extra beside the whole", _low("1.0", {"extra_liquidation_ratio": STEP})),
    Bound("no extra beside a half", _low("0.5", {"extra_liquidation_ratio": "0"})),
    Bound("extra beside one symbol of two that is not whole",
          _high((SOL, "1"), (DOGE, JUST_BELOW_1), terms={"extra_liquidation_ratio": "1"}),
          FULL_RATIO, values={"extra_liquidation_ratio": "1", "ratio_qty_request": JUST_BELOW_1}),
    Bound("extra beside whole symbols",
          _high((SOL, "1"), (DOGE, "1"), terms={"extra_liquidation_ratio": "1"})),
]  # fmt: skip

KNOWN = [
    Bound("nothing sent and nothing stored", _without(_low(), "liquidation"), NOT_FOUND,
          values={"liquidation_id": "101"}),
    Bound("a stored one", _without(_low(), "liquidation"),
          state=StoredState(stored(samples.low()))),
    Bound("a closed one", _without(_low(), "liquidation"), NOT_FOUND,
          state=StoredState(stored(samples.low()), closed=True)),
    Bound("a closed one with a newer snapshot in the request", _low(revision=99), NOT_FOUND,
          state=StoredState(stored(samples.low()), closed=True)),
    Bound("one that is stored for another account", _low(), NOT_FOUND,
          state=StoredState(stored(samples.low(account_id="account-other")))),
]  # fmt: skip

SHAPE = [
    Bound("symbols on LOW",
          samples.low_request({"ratio_qty_request": "",
                               "symbols": [{"symbol": BTC, "ratio_qty_request": "1"}]}), FORMAT),
    Bound("one ratio for all on HIGH",
          samples.high_request({"ratio_qty_request": "1", "symbols": []}), FORMAT),
    Bound("a symbol that the liquidation lacks", _high((SOL, "1"), (BTC, "1")), FORMAT),
    Bound("a limit for a symbol that the liquidation lacks",
          _low(terms={"limit_price": {SOL: "1"}}), FORMAT),
    Bound("a limit for a symbol that is not claimed",
          _high((SOL, "1"), terms={"limit_price": {DOGE: "1000"}})),
    Bound("symbols of another case", _high((SOL.lower(), "1")), FORMAT),
]  # fmt: skip

IN_PROCESS_BOUNDS = [
    Bound("an active claim", _low(), IN_PROCESS, values={"claim_id": "claim-9"},
          state=StoredState(active_claim=ActiveClaim("claim-9", Decimal("0.001")))),
    Bound("the revision of the last completed claim", _low(), IN_PROCESS,
          values={"revision": "7", "last_completed_revision": "7"},
          state=StoredState(last_completed_revision=7)),
    Bound("a revision below that of the last completed claim", _low(), IN_PROCESS,
          values={"revision": "7", "last_completed_revision": "8"},
          state=StoredState(last_completed_revision=8)),
    Bound("a revision above that of the last completed claim", _low(),
          state=StoredState(last_completed_revision=6)),
]  # fmt: skip

LIQUIDATOR = [
    Bound("the liquidated account itself", _low(terms={"liquidator_id": "account-low"}),
          IN_LIQUIDATION),
    Bound("a name that only looks like the account", _low(terms={"liquidator_id": "Account-low"})),
    Bound("an account with an open liquidation", _low(), IN_LIQUIDATION,
          state=StoredState(liquidator_in_liquidation=True)),
]  # fmt: skip

MARGIN_BOUNDS = [
    Bound("a step below maintenance",
          _low(margin_ratio="0.011999999999999999", maintenance_margin_ratio="0.012")),
    Bound("at maintenance", _low(margin_ratio="0.0120", maintenance_margin_ratio="0.012"), ENOUGH,
          values={"margin_ratio": "0.012", "maintenance_margin_ratio": "0.012"}),
    Bound("a step above maintenance",
          _low(margin_ratio="0.012000000000000001", maintenance_margin_ratio="0.012"), ENOUGH,
          values={"margin_ratio": "0.012000000000000001", "maintenance_margin_ratio": "0.012"}),
]  # fmt: skip

T_LOW = {"min_claim_notional": "10000"}
T_HIGH = {"min_claim_notional": "5000"}
LEAST = [
    Bound("below the threshold and the whole", _low("1", positions=_one("1", "9999.999999999999"))),
    Bound("below the threshold and a step less than the whole",
          _low(JUST_BELOW_1, positions=_one("1", "9999.999999999999999999")),
          _total_below("10000"),
          values=T_LOW | {"total_notional": "9999.999999999999999999", "least_req_ratio": "1"}),
    Bound("at the threshold and the whole", _low("1", positions=_one("-1", "10000"))),
    Bound("at the threshold and a step less than the whole",
          _low(JUST_BELOW_1, positions=_one("-1", "10000")), _least("1"),
          values=T_LOW | {"total_notional": "10000", "least_req_ratio": "1"}),
    Bound("above the threshold by a step, taking all of the threshold is not enough",
          _low(JUST_BELOW_1, positions=_one("1", "10000.000000000000000001")), _least("1")),
    Bound("half of twice the threshold", _low("0.5", positions=_one("2", "10000"))),
    Bound("a step less than half of twice the threshold",
          _low("0.499999999999999999", positions=_one("2", "10000")), _least("0.5"),
          values=T_LOW | {"total_notional": "20000", "least_req_ratio": "0.5"}),
    Bound("half of a product that binary floats and 28 digits round up to twice the threshold",
          _low("0.5", positions=_one("20000.00000000002", "0.999999999999999")),
          _least("0.5001"),
          values=T_LOW | {"total_notional": "19999.99999999999999999999999998",
                          "least_req_ratio": "0.5001"}),
    Bound("a third less a step of a total of longs and shorts", _low("0.3333"), _least("0.3334"),
          values=T_LOW | {"total_notional": "30000", "least_req_ratio": "0.3334"}),
    Bound("a ratio that reaches the threshold below the ratio that is told", _low("0.33334")),
    Bound("the ratio that is told", _low("0.3334")),
    Bound("another threshold", _low("0.5"),
          _total_below("30000.5"),
          values={"min_claim_notional": "30000.5", "least_req_ratio": "1"},
          policy=Policy(min_claim_notional={Tier.LOW: Decimal("30000.5"), Tier.HIGH: Decimal(0)})),
    Bound("a symbol below the threshold and the whole",
          _high((SOL, "1"), positions=_one("1", "4999.999999999999999999", SOL))),
    Bound("a symbol below the threshold and less than the whole",
          _high((SOL, JUST_BELOW_1), positions=_one("1", "4999.999999999999999999", SOL)),
          _total_below("5000"),
          values=T_HIGH | {"symbol": SOL, "total_notional": "4999.999999999999999999"}),
    Bound("each symbol at its least", _high((SOL, "0.25"), (DOGE, "0.625"))),
    Bound("the second symbol below its least",
          _high((SOL, "0.25"), (DOGE, "0.624999999999999999")), _least("0.625"),
          values=T_HIGH | {"symbol": DOGE, "total_notional": "8000", "least_req_ratio": "0.625"}),
    Bound("both symbols below their least, the first in the request is told",
          _high((DOGE, "0.1"), (SOL, "0.1")), _least("0.625"), values={"symbol": DOGE}),
    Bound("a symbol alone is not helped by the notional of the others",
          _high((SOL, "1"), (DOGE, "0.5")), _least("0.625"), values={"symbol": DOGE}),
]  # fmt: skip


def _limits(**limits: str) -> Json:
    return {"limit_price": {f"PERP_{name}_USDC": limit for name, limit in limits.items()}}


LIMITS = [
    Bound("a long at its limit", _low(terms=_limits(BTC="40000"))),
    Bound("a long a step above its limit", _low(terms=_limits(BTC="39999.999999999999999999")),
          PRICE, values={"symbol": BTC, "mark_price": "40000",
                         "limit_price": "39999.999999999999999999"}),
    Bound("a long below its limit", _low(terms=_limits(BTC="40000.000000000000000001"))),
    Bound("a short at its limit", _low(terms=_limits(ETH="2500.0"))),
    Bound("a short a step below its limit", _low(terms=_limits(ETH="2500.000000000000000001")),
          PRICE, values={"symbol": ETH, "mark_price": "2500",
                         "limit_price": "2500.000000000000000001"}),
    Bound("a short above its limit", _low(terms=_limits(ETH="2499.999999999999999999"))),
    Bound("a crossed limit of a symbol that is not claimed",
          _high((SOL, "1"), terms=_limits(DOGE="1"))),
    Bound("a crossed limit of a symbol that is claimed",
          _high((SOL, "1"), (DOGE, "1"), terms=_limits(DOGE="1")), PRICE),
]  # fmt: skip


def _liquidator(collateral: str, **account: Any) -> Json:
    """After all of `low()` it needs 30000 × 1/10, the largest of its three ratios."""
    return samples.low_request(
        liquidator=samples.liquidator(collateral_value=collateral, **account)
    )


LIQUIDATOR_MARGIN = [
    Bound("collateral that is just enough", _liquidator("3000")),
    Bound("a step less collateral", _liquidator("2999.999999999999999999"), MARGIN,
          values={"initial_margin_after": "3000", "collateral_value": "2999.999999999999999999"}),
    Bound("more collateral", _liquidator("3000.000000000000000001")),
    Bound("max_leverage 3 needs a third, which does not end",
          _liquidator("10000", max_leverage="3")),
    Bound("max_leverage 7 needs a seventh, and 18 decimals of it are too few",
          _liquidator("4285.714285714285714285", max_leverage="7"), MARGIN),
    Bound("extra counts",
          samples.low_request({"extra_liquidation_ratio": "0.5"},
                              liquidator=samples.liquidator(collateral_value="4499.9")), MARGIN,
          values={"initial_margin_after": "4500"}),
    Bound("a claimed symbol that the account does not list",
          _liquidator("100000", positions=[samples.margin_position(BTC, mark_price="40000")]),
          FORMAT, "liquidator_margin"),
    Bound("a position that the claim makes smaller frees margin",
          _liquidator("1000", positions=[
              samples.margin_position(BTC, mark_price="40000", position_qty="-0.5"),
              samples.margin_position(ETH, mark_price="2500"),
          ])),
    Bound("no liquidator", samples.low_request()),
]  # fmt: skip

TABLES = {
    "known_fields": KNOWN_FIELDS,
    "well_formed": WELL_FORMED,
    "ratio_qty_request_range": RATIO_RANGE_BOUNDS,
    "extra_liquidation_ratio_range": EXTRA_RANGE_BOUNDS,
    "extra_needs_full_ratio": FULL_RATIO_BOUNDS,
    "liquidation_known": KNOWN,
    "tier_shape": SHAPE,
    "no_claim_in_process": IN_PROCESS_BOUNDS,
    "liquidator_not_in_liquidation": LIQUIDATOR,
    "margin_below_maintenance": MARGIN_BOUNDS,
    "least_request_ratio": LEAST,
    "limit_price": LIMITS,
    "liquidator_margin": LIQUIDATOR_MARGIN,
}
BOUNDS = [(rule, bound) for rule, table in TABLES.items() for bound in table]


@pytest.mark.parametrize(
    ("rule", "bound"), BOUNDS, ids=[f"{rule}: {bound.fact}" for rule, bound in BOUNDS]
)
def test_a_bound_is_on_the_side_the_contract_says(rule: str, bound: Bound) -> None:
    decision = decision_on(
        bound.request,
        policy=bound.policy,
        state=bound.state,
        unknown_field_in=bound.unknown_field_in,
    )

    if bound.refused is None:
        assert decision.refusal is None
        return
    refusal = decision.refusal
    assert refusal is not None
    assert (refusal.row.code, refusal.row.grpc, refusal.message) == bound.refused
    assert refusal.rule == (bound.rule or rule)
    assert bound.values.items() <= refusal.values.items()


def test_every_rule_has_a_bound_on_both_sides() -> None:
    assert tuple(TABLES) == RULE_NAMES
    for rule, table in TABLES.items():
        assert any(bound.refused is not None and bound.rule in {"", rule} for bound in table), rule
    for rule in set(TABLES) - {"known_fields", "tier_shape"}:
        assert any(bound.refused is None for bound in TABLES[rule]), rule


def test_a_computed_margin_ratio_equal_to_a_maintenance_ratio_is_enough() -> None:
    # Seven equal positions of notional 1/7 of the whole: the ratios do not end, and are equal.
    account = {
        "collateral_value": "21",
        "positions": [
            samples.margin_position(BTC, position_qty="700", base_mmr="0.03", imr_factor="0")
        ],
    }
    at_bound = samples.low(account=account, margin_ratio="", maintenance_margin_ratio="")
    below = deepcopy(at_bound)
    below["account"]["collateral_value"] = "20.999999999999999999"

    refused = decision_on({"terms": samples.low_terms(), "liquidation": at_bound})
    accepted = decision_on({"terms": samples.low_terms(), "liquidation": below})

    assert refused.refusal is not None
    assert refused.refusal.rule == "margin_below_maintenance"
    assert accepted.refusal is None


def _decision_numbers(request: Json, **others: Any) -> tuple[str, str]:
    decision = decision_on(request, **others)
    return decision.total_notional, decision.least_req_ratio


@pytest.mark.parametrize(
    ("request_", "numbers"),
    [
        pytest.param(_low(), ("30000", "0.3334"), id="LOW: the total of the liquidation"),
        pytest.param(
            _low("1", positions=_one("1", "1")), ("1", "1"), id="LOW below the threshold: 1"
        ),
        pytest.param(_high((SOL, "1")), ("20000", "0.25"), id="HIGH: requested symbols only"),
        pytest.param(
            _high((SOL, "1"), (DOGE, "1")), ("28000", "0.625"), id="HIGH: the largest of the least"
        ),
        pytest.param(_low("7"), ("30000", "0.3334"), id="a refusal by an early rule has them too"),
        pytest.param(
            _low(terms={"limit_price": {SOL: "1"}}),
            ("30000", "0.3334"),
            id="a bad limit hides neither",
        ),
        pytest.param(_high((SOL, "1"), (BTC, "1")), ("", ""), id="no notional of a lacking symbol"),
        pytest.param(_without(_low(), "liquidation"), ("", ""), id="no liquidation"),
        pytest.param(_low("x"), ("", ""), id="not well formed"),
    ],
)
def test_a_decision_has_its_numbers_whenever_they_can_be_computed(
    request_: Json, numbers: tuple[str, str]
) -> None:
    assert _decision_numbers(request_) == numbers


@pytest.mark.parametrize(("sent_revision", "notional"), [(6, "30000"), (7, "10000"), (8, "10000")])
def test_a_snapshot_in_the_request_counts_unless_a_newer_one_is_stored(
    sent_revision: int, notional: str
) -> None:
    request = _low(positions=_one("1", "10000"), revision=sent_revision)
    decision = decision_on(request, state=StoredState(stored(samples.low(revision=7))))

    assert decision.total_notional == notional
    assert decision.liquidation_revision == max(sent_revision, 7)


def test_an_accepted_claim_takes_signed_quantities_and_at_most_the_extra_more() -> None:
    decision = decision_on(_low("1", {"extra_liquidation_ratio": "0.25"}))

    assert [
        (each.symbol, each.qty, each.max_qty, each.notional) for each in decision.positions
    ] == [(BTC, "0.5", "0.625", "20000"), (ETH, "-4", "-5", "10000")]


def test_claimed_positions_of_tier_high_are_in_the_order_of_the_request() -> None:
    decision = decision_on(_high((DOGE, "0.75"), (SOL, "0.5")))

    assert [(each.symbol, each.qty, each.notional) for each in decision.positions] == [
        (DOGE, "-60000", "6000"),
        (SOL, "50", "10000"),
    ]


# -- the order --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Violation:
    """What breaks one rule in an otherwise sound request of tier LOW."""

    rule: str
    terms: Json = field(default_factory=dict)
    liquidation: Json = field(default_factory=dict)
    others: Json = field(default_factory=dict)
    state: Json = field(default_factory=dict)
    unknown_field_in: str | None = None


BROKE = {"liquidator": samples.liquidator(collateral_value="1")}
VIOLATIONS = (
    Violation("known_fields", unknown_field_in="terms"),
    Violation("well_formed", liquidation={"revision": 0}),
    Violation("ratio_qty_request_range", terms={"ratio_qty_request": "-1"}),
    Violation("extra_liquidation_ratio_range", terms={"extra_liquidation_ratio": "2"}),
    Violation("extra_needs_full_ratio", terms={"extra_liquidation_ratio": "0.1"}),
    Violation("liquidation_known", state={"closed": True}),
    Violation("tier_shape", terms={"limit_price": {SOL: "1", BTC: "1"}}),
    Violation("no_claim_in_process", state={"last_completed_revision": 7}),
    Violation("liquidator_not_in_liquidation", state={"liquidator_in_liquidation": True}),
    Violation("margin_below_maintenance", liquidation={"margin_ratio": "1"}),
    Violation("least_request_ratio", terms={"ratio_qty_request": "0.1"}),
    Violation("limit_price", terms={"limit_price": {BTC: "1"}}),
    Violation("liquidator_margin", others=BROKE),
)
IN_ORDER = {violation.rule: index for index, violation in enumerate(VIOLATIONS)}


def _broken_from(rule: str, **others: Any) -> Any:
    """The decision on a request that breaks `rule` and every later one."""
    terms: Json = {}
    liquidation: Json = {}
    extras: Json = {}
    state: Json = {}
    unknown = None
    # From the last to the first, so that an earlier one wins where both change the same field.
    for violation in reversed(VIOLATIONS[IN_ORDER[rule] :]):
        terms |= violation.terms
        liquidation |= violation.liquidation
        extras |= violation.others
        state |= violation.state
        unknown = violation.unknown_field_in or unknown
    return decision_on(
        samples.low_request(terms, liquidation, **extras),
        state=StoredState(**state),
        unknown_field_in=unknown,
        **others,
    )


def test_the_rules_are_those_of_the_contract_in_its_order() -> None:
    assert tuple(rule.name for rule in RULES) == RULE_NAMES == tuple(IN_ORDER)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_of_many_violations_the_first_in_order_decides(rule: str) -> None:
    decision = _broken_from(rule)

    assert decision.refusal is not None
    assert decision.refusal.rule == rule


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_explaining_a_decision_does_not_change_it(rule: str) -> None:
    unexplained = _broken_from(rule)
    explained = _broken_from(rule, explain=True)

    assert explained.refusal == unexplained.refusal
    assert explained.total_notional == unexplained.total_notional
    assert unexplained.trace == ()


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_trace_has_all_thirteen_rules_in_order(rule: str) -> None:
    decision = _broken_from(rule, explain=True)

    assert tuple(result.rule for result in decision.trace) == RULE_NAMES
    outcomes = {result.rule: result.outcome for result in decision.trace}
    assert outcomes[rule] is Outcome.REFUSED
    for earlier in RULE_NAMES[: IN_ORDER[rule]]:
        assert outcomes[earlier] is Outcome.PASSED, earlier


def test_a_trace_goes_on_behind_the_rule_that_decided() -> None:
    decision = _broken_from("no_claim_in_process", explain=True)

    behind = decision.trace[IN_ORDER["no_claim_in_process"] :]
    assert [result.outcome for result in behind] == [Outcome.REFUSED] * 6
    assert [result.refusal.row.code for result in behind if result.refusal is not None] == [
        -1012, -1012, -1202, -1201, -1103, -1101,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "skipped"),
    [
        pytest.param(_low("x"), RULE_NAMES[2:], id="nothing can be read"),
        pytest.param(_without(_low(), "liquidation"), RULE_NAMES[6:], id="nothing is known"),
        pytest.param(_high((BTC, "1")), RULE_NAMES[10:], id="the terms do not fit"),
        pytest.param(_low(), RULE_NAMES[12:], id="no liquidator is sent"),
    ],
)
def test_a_rule_without_anything_to_look_at_is_skipped_and_says_why(
    request_: Json, skipped: tuple[str, ...]
) -> None:
    trace = decision_on(request_, explain=True).trace

    found = tuple(result.rule for result in trace if result.outcome is Outcome.SKIPPED)
    assert found == skipped
    assert all(result.facts.keys() == {"skipped"} for result in trace if result.rule in skipped)


def test_a_trace_shows_the_numbers_that_each_rule_compared() -> None:
    facts = {
        result.rule: dict(result.facts)
        for result in decision_on(
            samples.low_request(liquidator=samples.liquidator()), explain=True
        ).trace
    }

    assert facts["margin_below_maintenance"] == {
        "margin_ratio": "0.008",
        "maintenance_margin_ratio": "0.012",
    }
    assert facts["least_request_ratio"] == {
        "total_notional": "30000",
        "least_req_ratio": "0.3334",
        "min_claim_notional": "10000",
        "ratio_qty_request": "1",
    }
    assert facts["liquidator_margin"] == {
        "initial_margin_after": "3000",
        "collateral_value": "100000",
    }


# -- the modes --------------------------------------------------------------------------------

RELAXABLE = [
    rule for rule in RULE_NAMES if rule not in {"well_formed", "liquidation_known", "tier_shape"}
]


def _broken_alone(rule: str, mode: Mode, *, explain: bool = False) -> Any:
    violation = VIOLATIONS[IN_ORDER[rule]]
    terms = dict(violation.terms)
    if rule == "ratio_qty_request_range":
        terms["ratio_qty_request"] = "2"  # below zero it would be too small as well
    if rule == "extra_needs_full_ratio":
        terms["ratio_qty_request"] = "0.5"
    return decision_on(
        samples.low_request(terms, violation.liquidation, **violation.others),
        state=StoredState(**violation.state),
        unknown_field_in=violation.unknown_field_in,
        policy=Policy(modes={rule: mode}),
        explain=explain,
    )


@pytest.mark.parametrize("rule", RELAXABLE)
def test_a_rule_that_is_enforced_refuses(rule: str) -> None:
    decision = _broken_alone(rule, Mode.ENFORCE)

    assert decision.refusal is not None
    assert decision.refusal.rule == rule
    assert decision.shadow == ()


@pytest.mark.parametrize("rule", RELAXABLE)
def test_a_rule_in_shadow_refuses_nothing_and_tells_what_it_would_have_said(rule: str) -> None:
    enforced: Refusal = _broken_alone(rule, Mode.ENFORCE).refusal
    decision = _broken_alone(rule, Mode.SHADOW)

    assert decision.refusal is None
    assert decision.positions
    assert decision.shadow == (enforced,)


@pytest.mark.parametrize("rule", RELAXABLE)
def test_a_rule_in_shadow_is_in_the_trace_as_such(rule: str) -> None:
    decision = _broken_alone(rule, Mode.SHADOW, explain=True)

    assert decision.trace[IN_ORDER[rule]].outcome is Outcome.SHADOW_REFUSED
    assert decision.trace[IN_ORDER[rule]].refusal is not None


@pytest.mark.parametrize("rule", RELAXABLE)
def test_a_rule_that_is_off_is_skipped(rule: str) -> None:
    decision = _broken_alone(rule, Mode.OFF, explain=True)

    assert decision.refusal is None
    assert decision.shadow == ()
    assert decision.trace[IN_ORDER[rule]].outcome is Outcome.SKIPPED
    assert decision.trace[IN_ORDER[rule]].facts == {"skipped": "the rule is off"}


def test_behind_a_rule_in_shadow_the_next_one_decides() -> None:
    decision = decision_on(
        _low("0.1", terms=_limits(BTC="1")),
        policy=Policy(modes={"least_request_ratio": Mode.SHADOW}),
    )

    assert decision.refusal is not None
    assert decision.refusal.rule == "limit_price"
    assert [refusal.rule for refusal in decision.shadow] == ["least_request_ratio"]


# -- exactness --------------------------------------------------------------------------------


@st.composite
def _one_tier(draw: st.DrawFn) -> tuple[str, str, str]:
    return draw(signed()), draw(amounts()), draw(ratios())


def _request_of(tier: Tier, quantity: str, price: str, ratio: str) -> Json:
    if tier is Tier.LOW:
        return _low(ratio, positions=_one(quantity, price))
    return _high((SOL, ratio), positions=_one(quantity, price, SOL))


def _can_be_sent(ratio: str) -> bool:
    """Whether a ratio has no more than 18 decimals."""
    return len(ratio) <= len(SMALLEST)


def test_the_least_ratio_has_four_digits_however_huge_the_notional() -> None:
    refusal = decision_on(_low("0", positions=_one("1000000000000000", "300000"))).refusal

    assert refusal is not None
    assert refusal.message == "least req ratio should = 0.00000000000000003334"


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.name)
@seeded(300)
@given(_one_tier(), amounts())
def test_the_ratio_of_a_refusal_passes_when_it_is_sent_again(
    tier: Tier, drawn: tuple[str, str, str], threshold: str
) -> None:
    quantity, price, ratio = drawn
    policy = Policy(min_claim_notional=dict.fromkeys(Tier, Decimal(threshold)))
    refusal = decision_on(_request_of(tier, quantity, price, ratio), policy=policy).refusal
    assume(refusal is not None)
    assert refusal is not None
    assert refusal.rule == "least_request_ratio"

    least = refusal.values["least_req_ratio"]
    assume(_can_be_sent(least))
    again = decision_on(_request_of(tier, quantity, price, least), policy=policy)

    assert again.refusal is None


@seeded(200)
@given(_one_tier(), ratios())
def test_a_larger_ratio_passes_where_a_smaller_one_does(
    drawn: tuple[str, str, str], other: str
) -> None:
    quantity, price, ratio = drawn
    smaller, larger = sorted((ratio, other), key=Fraction)
    if decision_on(_request_of(Tier.LOW, quantity, price, smaller)).refusal is None:
        assert decision_on(_request_of(Tier.LOW, quantity, price, larger)).refusal is None


@seeded(200)
@given(_one_tier())
def test_a_ratio_passes_exactly_where_it_takes_the_threshold_or_all_of_less(
    drawn: tuple[str, str, str],
) -> None:
    quantity, price, ratio = drawn
    notional = abs(Fraction(quantity) * Fraction(price))
    takes_enough = (
        Fraction(ratio) * notional >= 10000 if notional >= 10000 else Fraction(ratio) == 1
    )

    accepted = decision_on(_request_of(Tier.LOW, quantity, price, ratio)).refusal is None

    assert accepted is takes_enough


def test_the_largest_numbers_of_256_positions_lose_no_digit() -> None:
    positions = [
        {"symbol": f"S{index}", "position_qty": f"-{LARGEST}", "mark_price": LARGEST}
        for index in range(256)
    ]
    decision = decision_on(_low(JUST_BELOW_1, positions=positions))

    notional = Fraction(LARGEST) ** 2
    assert decision.refusal is None
    assert Fraction(decision.total_notional) == 256 * notional
    for each in decision.positions:
        assert Fraction(each.qty) == -Fraction(LARGEST) * Fraction(JUST_BELOW_1)
        assert Fraction(each.notional) == notional * Fraction(JUST_BELOW_1)


def test_a_threshold_that_is_missed_by_10_to_the_minus_54_is_missed() -> None:
    policy = Policy(min_claim_notional=dict.fromkeys(Tier, Decimal(SMALLEST)))
    at_bound = _low(SMALLEST, positions=_one("1", "1"))
    missed = _low(SMALLEST, positions=_one(JUST_ABOVE_1, JUST_BELOW_1))

    assert decision_on(at_bound, policy=policy).refusal is None
    refusal = decision_on(missed, policy=policy).refusal
    assert refusal is not None
    assert refusal.values["total_notional"] == "0." + "9" * 36
