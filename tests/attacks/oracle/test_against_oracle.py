"""A real server and a second reading of the contract answer the same, whatever is asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.asking import DisagreementError
from tests.attacks.oracle.drawing import units_of, written
from tests.attacks.oracle.run import Plan, run


def test_a_server_answers_whatever_is_asked_as_the_contract_says(tmp_path: Path) -> None:
    tally = run(Plan(worlds=10, cases=400), tmp_path)

    # A run that never meets a rule proves nothing about it.
    assert tally.rules_never_met() == []
    assert tally.lines == tally.cases + tally.begins
    assert tally.symbols == 256


def _a_step_lower(in_force: InForce) -> InForce:
    thresholds = {
        tier: written(max(0, units_of(text) - 1)) for tier, text in in_force.thresholds.items()
    }
    return replace(in_force, thresholds=thresholds)


def test_a_threshold_that_is_off_by_the_smallest_step_is_found(tmp_path: Path) -> None:
    with pytest.raises(DisagreementError, match=r"min_claim_notional|least_req_ratio"):
        run(Plan(worlds=8, cases=1000), tmp_path, rules_of=_a_step_lower)
