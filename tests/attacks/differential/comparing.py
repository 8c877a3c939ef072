"""Where two canonical values differ, and the differences that are meant."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson

from tests.attacks.differential.calls import Json

# Seconds by which two times may differ that the run itself makes.
_NEAR_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A place in an answer or a line, and what each side has there; None where it has nothing."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Intended:
    """A difference that is meant: where it may be, as a pattern of the whole path, and why."""

    path: str
    why: str

    def covers(self, difference: Difference) -> bool:
        """Whether it is this difference."""
        return re.fullmatch(self.path, difference.path) is not None


# What the present release is meant to answer or log otherwise than the one before.
INTENDED: Final[tuple[Intended, ...]] = ()


def differences(
    before: Any, after: Any, intended: Sequence[Intended] = INTENDED
) -> list[Difference]:
    """All differences but those that are meant."""
    # Not with `==`, for which true is 1.
    if _written(before) == _written(after):
        return []
    found = _differences(before, after, "")
    return [each for each in found if not any(one.covers(each) for one in intended)]


def _differences(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        if _near(before, after):
            return
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            left, right = _at(before, index), _at(after, index)
            yield from _differences(left, right, f"{path}[{index}]")
    elif before != after or type(before) is not type(after):
        yield Difference(path, before, after)


def _written(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _near(before: Json, after: Json) -> bool:
    if not before.keys() == after.keys() == {"about"}:
        return False
    left, right = before["about"], after["about"]
    exact = float(left).is_integer() and float(right).is_integer()
    return bool(left == right if exact else abs(left - right) <= _NEAR_S)


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every text or number in a value: what holds it, and under which key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        if isinstance(each, (dict, list)):
            yield from leaves(each)
        else:
            yield value, key


def mutated(value: Any, random: Random) -> None:
    """Changes one text or number somewhere in a value."""
    holder, key = random.choice(list(leaves(value)))
    holder[key] = _other(holder[key])


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1000
    return f"{value}~"
