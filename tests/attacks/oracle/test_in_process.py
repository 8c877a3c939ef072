"""The rules without their server answer as a second reading of the contract does.

Every choice is one of Hypothesis's, so a disagreement is told in its smallest form.
"""

import json
from collections import Counter
from decimal import Decimal
from random import Random

from hypothesis import given, note
from hypothesis import strategies as st

from liquidation.rules.decision import Decision
from liquidation.rules.model import ActiveClaim, StoredState
from liquidation.rules.policy import read_policy
from tests import samples
from tests.attacks.oracle.answers import Answer, InForce, State
from tests.attacks.oracle.cases import Case, drawn_case
from tests.attacks.oracle.evaluator import RULES, evaluate
from tests.attacks.oracle.worlds import drawn_world, rules_in_force, rules_text
from tests.unit.deciding import decision_on, stored
from tests.unit.seeded import seeded


def _state(case: Case) -> StoredState:
    state = case.state
    claimant = case.request["terms"].get("liquidator_id", "")
    return StoredState(
        None if state.stored is None else stored(dict(state.stored)),
        state.closed,
        claimant in state.open_accounts,
        ActiveClaim(state.active_claim, Decimal(12)) if state.active_claim else None,
        state.last_completed_revision,
    )


def _answer(decision: Decision) -> Answer:
    refusal = decision.refusal
    return Answer(
        code=0 if refusal is None else refusal.row.code,
        words="" if refusal is None else refusal.message,
        rule="" if refusal is None else refusal.rule,
        total_notional=decision.total_notional,
        least_req_ratio=decision.least_req_ratio,
        margin_ratio=decision.margin_ratio,
        maintenance_margin_ratio=decision.maintenance_margin_ratio,
        revision=decision.liquidation_revision,
        positions=tuple(
            (each.symbol, each.qty, each.max_qty, each.notional) for each in decision.positions
        ),
        numbers={} if refusal is None else dict(refusal.values),
        shadow=tuple((each.rule, each.row.code, each.message) for each in decision.shadow),
        trace=tuple(
            (
                each.rule,
                each.outcome.name,
                0 if each.refusal is None else each.refusal.row.code,
                "" if each.refusal is None else each.refusal.message,
            )
            for each in decision.trace
        ),
    )


def test_every_drawn_request_is_answered_as_the_contract_says() -> None:
    seen: Counter[str] = Counter()

    @seeded(400)
    @given(rules_in_force(), st.randoms(use_true_random=False))
    def agree(in_force: InForce, random: Random) -> None:
        world = drawn_world(random, in_force, 1, 1)
        case = drawn_case(random, world)
        if world.subjects[0].is_claimed:
            world.claims[world.subjects[0].account_id] = "claim-1"
        expected = case.answer()
        seen[expected.rule] += 1
        note(json.dumps(case.request))
        decision = decision_on(
            case.request,
            policy=read_policy(rules_text(world.in_force, "drawn")),
            state=_state(case),
            unknown_field_in=case.unknown_field_in,
            explain="explain" in case.request,
        )
        assert _answer(decision) == expected

    agree()

    # What is drawn here is little; that every rule is met is seen in the run through the server.
    assert len(seen) >= len(RULES) - 2, seen


def test_the_sample_requests_are_accepted_by_both() -> None:
    for request in (
        samples.low_request(liquidator=samples.liquidator()),
        samples.high_request(),
    ):
        expected = evaluate(request, State(), InForce())

        assert expected.code == 0
        assert _answer(decision_on(request)) == expected
