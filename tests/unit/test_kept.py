"""What is kept with a snapshot tells nobody of another's claim, ratio, limits or policy."""

import random
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

from liquidation.api.status import fill_result
from liquidation.decisionlog.entry import decision_line
from liquidation.rules.checks import RULES
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import ActiveClaim, StoredState, Tier
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import Mode, Policy
from liquidation.v1.errors_pb2 import LiquidationError
from liquidation.v1.rules_service_pb2 import CheckClaimResult
from tests import samples
from tests.unit.deciding import stored

STRICT = {Tier.LOW: Decimal(20000), Tier.HIGH: Decimal(20000)}
POLICIES = (
    Policy(),
    Policy("v-2"),
    Policy("v-3", min_claim_notional=STRICT),
    Policy("v-4", min_claim_notional=STRICT, modes={"least_request_ratio": Mode.SHADOW}),
)
# Written in several ways; too small, of the whole, and beyond it.
RATIOS = ("0.5", "0.50", "0.1", "1", "1.5")
EXTRAS = ("0", "0.1")
ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"limit_price": {"PERP_BTC_USDC": "50000"}},
    {"limit_price": {"PERP_SOL_USDC": "1"}},
    {"symbols": [{"symbol": "PERP_BTC_USDC", "ratio_qty_request": "1"}]},
)
CLAIMED = ActiveClaim("claim-1", Decimal(3))


def told(number: int, case: tuple[Any, ...], state: StoredState) -> tuple[Any, ...]:
    """The decision, its answer and its line."""
    (policy, ratio, extra), (liquidator, asked, explain, _) = case
    terms = samples.low_terms(
        liquidator_id=liquidator, ratio_qty_request=ratio, extra_liquidation_ratio=extra, **asked
    )
    if "symbols" in asked:
        del terms["ratio_qty_request"]
    message = samples.check({"terms": terms})
    request = parse_request(message, explain=explain)
    decision = evaluate(policy, request, state)
    answer = CheckClaimResult()
    fill_result(answer, f"p-{number}", decision)
    about = answer.accepted.decision
    if not decision.accepted:
        error = LiquidationError()
        assert answer.refused.details[1].Unpack(error)
        about = error.decision
    assert about.decision_id == f"p-{number}"
    assert len(about.trace) == (len(RULES) if explain else 0)
    line, record = decision_line(request, message, decision, None, rendered=False)
    return decision, answer, line, record


def test_a_claim_is_told_as_if_nothing_were_kept_of_others_on_its_snapshot() -> None:
    free = StoredState(stored(samples.low()))
    states = {False: free, True: StoredState(free.liquidation, active_claim=CLAIMED)}
    shares = [*product(POLICIES, RATIOS, EXTRAS)] * 2
    draw = random.Random(17)
    draw.shuffle(shares)
    number = 0
    for share in shares:
        # One after the other, since what is kept is kept of the last share.
        others = [*product(("liquidator-1", "liquidator-2"), ASKED, (False, True), states)]
        draw.shuffle(others)
        for other in others[:20]:
            number += 1
            alone = replace(states[other[-1]], liquidation=stored(samples.low()))
            assert told(number, (share, other), states[other[-1]]) == (
                told(number, (share, other), alone)
            ), (share, other)
