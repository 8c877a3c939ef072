"""What a value of the rules is: small, equal by its fields, usable as a key, and never changed."""

import pkgutil
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Final

import pytest

from liquidation import rules
from liquidation.rules import decision, model
from liquidation.rules.model import Position, value
from liquidation.rules.policy import ActivePolicy, PolicyKey

NOTHING_SAID: Final[dict[type, dict[str, object]]] = {
    model.Liquidation: {"snapshot_time_ns": None, "account": None, "facts": None},
    model.Terms: {"symbols": (), "limit_price": {}},
    model.Claim: {"end_us": None, "end_reason": ""},
    model.ClaimEvent: {"reason": "", "forced": False},
    model.StoredState: {
        "liquidation": None,
        "closed": False,
        "liquidator_in_liquidation": False,
        "active_claim": None,
        "last_completed_revision": None,
        "rendered": None,
    },
    model.ClaimRequest: {
        "terms": None,
        "snapshot": None,
        "liquidator": None,
        "violations": (),
        "unknown_fields": (),
        "explain": False,
    },
    decision.RuleInput: {
        "unknown_fields": (),
        "violations": (),
        "terms": None,
        "liquidator": None,
        "state": None,
        "liquidation": None,
        "facts": None,
        "claimed": None,
        "checks": None,
        "whole": None,
    },
    model.Refusal: {
        "rule": "",
        "values": {},
        "violations": (),
        "subject": "",
        "not_found": None,
        "retry_after_s": None,
        "message": "",
    },
    model.RuleResult: {"refusal": None, "facts": {}},
    decision.Decision: {
        "total_notional": "",
        "least_req_ratio": "",
        "margin_ratio": "",
        "maintenance_margin_ratio": "",
        "liquidation_revision": 0,
        "account_id": "",
        "positions": (),
        "trace": (),
        "shadow": (),
        "given": None,
    },
    ActivePolicy: {"candidate": None},
    PolicyKey: {"allowed": "", "bounds": (0, 0)},
}
"""What a value holds where nothing is said of it."""


@value
class Price:
    """A value of one field."""

    amount: int


def test_values_of_equal_fields_are_equal_and_have_one_hash() -> None:
    assert Price(1) == Price(1)
    assert {Price(1): "one"}[Price(1)] == "one"
    assert Price(1) != Price(2)


@pytest.mark.parametrize("made", [Price, Position])
def test_a_value_has_no_room_for_anything_but_its_fields(made: type) -> None:
    assert "__slots__" in made.__dict__
    assert "__dict__" not in dir(made)


def test_every_record_of_the_rules_has_slots_and_is_a_value_or_frozen() -> None:
    names = [each.name for each in pkgutil.iter_modules(rules.__path__)]
    modules = [import_module(f"{rules.__name__}.{name}") for name in names]
    found = [each for module in modules for each in vars(module).values()]
    records = {each for each in found if isinstance(each, type) and is_dataclass(each)}

    assert len(records) > 25
    for record in records:
        assert "__slots__" in vars(record), record
        made = record.__dataclass_params__  # type: ignore[attr-defined]
        assert made.frozen or made.unsafe_hash, record


@pytest.mark.parametrize("made", NOTHING_SAID)
def test_what_is_not_said_of_a_value_is_nothing(made: Any) -> None:
    assert {each.name: _default(each) for each in fields(made) if _has_one(each)} == (
        NOTHING_SAID[made]
    )


def _has_one(each: Field[Any]) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _default(each: Field[Any]) -> object:
    return each.default if each.default_factory is MISSING else each.default_factory()


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (model.Tier, {"LOW": 1, "HIGH": 2}),
        (model.ClaimState, {"ACTIVE": 1, "COMPLETED": 2, "CANCELLED": 3, "EXPIRED": 4}),
        (model.Outcome, {"PASSED": 1, "REFUSED": 2, "SKIPPED": 3, "SHADOW_REFUSED": 4}),
    ],
)
def test_the_words_of_the_rules_have_the_numbers_of_the_wire(
    words: type[Enum], numbers: dict[str, int]
) -> None:
    assert {each.name: each.value for each in words} == numbers
