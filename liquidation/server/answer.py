"""Waits for what a store answers to a callback."""

import threading
from typing import Final, Generic, TypeVar

from liquidation.store.base import StoreUnavailableError

__all__ = ["Answer"]

_R = TypeVar("_R")

# How much longer than the store itself is waited, in seconds: as a rule it says by itself that it
# is late, and why.
_LONGER_S: Final = 0.5


class Answer(Generic[_R]):
    """The one answer of a store to a question, for a thread that may wait."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is how long the store may take by its own measure, in seconds."""
        self._timeout_s = timeout_s
        self._answered = threading.Event()
        self._result: _R | Exception | None = None

    def take(self, result: _R | Exception) -> None:
        """The answer, from any thread; it is a `store.base.Done`."""
        self._result = result
        self._answered.set()

    @property
    def is_there(self) -> bool:
        """Whether the store has answered."""
        return self._answered.is_set()

    def wait(self) -> _R:
        """What the store answered.

        Raises:
            StoreUnavailableError: it did not answer in time.
            Exception: what it answered instead of a result.
        """
        if not self._answered.wait(self._timeout_s + _LONGER_S):
            raise StoreUnavailableError(f"no answer within {self._timeout_s:g} s")
        if isinstance(self._result, Exception):
            raise self._result
        return self._result  # type: ignore[return-value] # None is an answer too, of such a type
