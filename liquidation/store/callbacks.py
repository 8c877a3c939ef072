"""How stores call back: what a callback raises harms nobody but the one who gave it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["Fault", "Late", "tell"]

_T = TypeVar("_T")

# Is told of an error that is nobody's answer; must not raise.
Fault = Callable[[Exception], None]
# Is told the result of a write that was committed after its `done` was told that it was not in
# time: what the method tells, such as a BeginResult.
Late = Callable[[Any], None]


def tell(callback: Callable[[_T], None], outcome: _T, on_fault: Fault) -> None:
    """Calls `callback`, and tells `on_fault` what it raises."""
    try:
        callback(outcome)
    except Exception as error:  # noqa: BLE001 - a fault of whoever is told
        with suppress(Exception):
            on_fault(error)
