"""What a value of the core is: small, equal by its fields, usable as a key, and never changed."""

import pkgutil
from dataclasses import is_dataclass
from importlib import import_module

import pytest

from liquidation import core
from liquidation.core.model import Position
from liquidation.core.value import value


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


def test_every_record_of_the_core_has_slots_and_is_a_value_or_frozen() -> None:
    names = [each.name for each in pkgutil.iter_modules(core.__path__)]
    modules = [import_module(f"{core.__name__}.{name}") for name in names]
    found = [each for module in modules for each in vars(module).values()]
    records = {each for each in found if isinstance(each, type) and is_dataclass(each)}

    assert len(records) > 30
    for record in records:
        assert "__slots__" in vars(record), record
        made = record.__dataclass_params__  # type: ignore[attr-defined]
        assert made.frozen or made.unsafe_hash, record
