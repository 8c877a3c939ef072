"""What follows from a snapshot alone is derived once, and is what anybody would compute afresh."""

from copy import copy
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.decision import SnapshotFacts, facts_of
from liquidation.rules.model import Liquidation, Position
from liquidation.rules.numbers import least_ratio, plain
from liquidation.rules.record import liquidation_record
from tests import samples
from tests.unit.deciding import stored
from tests.unit.drawing import amounts, liquidations
from tests.unit.seeded import seeded

Json = dict[str, Any]


@seeded(100)
@given(liquidations(), st.lists(amounts(), min_size=1, max_size=3))
def test_the_facts_are_what_is_computed_afresh(json: Json, thresholds: list[str]) -> None:
    snapshot = stored(json)
    notionals = [
        abs(Fraction(each["position_qty"]) * Fraction(each["mark_price"]))
        for each in json["positions"]
    ]

    facts = facts_of(snapshot)

    assert Fraction(facts.total_notional) == sum(notionals)
    assert Fraction(facts.total_notional_text) == sum(notionals)
    assert facts.margin_is_enough is (
        Fraction(snapshot.margin_ratio) >= Fraction(snapshot.maintenance_margin_ratio)
    )
    assert facts.margin_ratio_text == plain(snapshot.margin_ratio)
    assert facts.maintenance_margin_ratio_text == plain(snapshot.maintenance_margin_ratio)
    assert facts.by_symbol == {each.symbol: each for each in snapshot.positions}
    assert facts.record == liquidation_record(snapshot)
    # One threshold after the other, and each once more.
    for threshold in map(Decimal, thresholds * 2):
        least = plain(least_ratio(threshold, facts.total_notional))
        assert facts.least_ratio_text(threshold) == least


def test_facts_are_derived_once_and_kept_with_their_snapshot() -> None:
    snapshot = stored(samples.low())

    facts = facts_of(snapshot)

    assert snapshot.facts is facts
    assert facts_of(snapshot) is facts
    assert facts.by_symbol is facts.by_symbol


def test_a_snapshot_is_equal_to_another_whatever_was_derived_of_either() -> None:
    one, other = stored(samples.low()), stored(samples.low())
    facts_of(one)

    assert one == other
    assert hash(one) == hash(other)
    assert "facts" not in repr(one)


@pytest.mark.parametrize(
    ("changes", "notional", "enough"),
    [
        ({"positions": (Position("PERP_BTC_USDC", Decimal(2), Decimal(7)),)}, "14", False),
        ({"margin_ratio": Decimal("0.012")}, samples.LOW_NOTIONAL, True),
        ({"revision": 8}, samples.LOW_NOTIONAL, False),
    ],
    ids=["positions", "margin", "revision"],
)
def test_a_copy_with_other_fields_has_facts_of_its_own(
    changes: Any, notional: str, enough: bool
) -> None:
    snapshot = stored(samples.low())
    before = facts_of(snapshot)
    before.rendered = b"kept by the log"

    changed: Liquidation = replace(snapshot, **changes)

    assert changed.facts is None
    facts = facts_of(changed)
    assert (facts.total_notional_text, facts.margin_is_enough) == (notional, enough)
    assert facts.record == liquidation_record(changed)
    assert facts.rendered is None
    assert facts_of(snapshot) is before


def test_a_copy_as_it_is_may_share_what_was_derived() -> None:
    snapshot = stored(samples.high())

    same = copy(snapshot)

    assert facts_of(same).record == facts_of(snapshot).record == SnapshotFacts(snapshot).record
