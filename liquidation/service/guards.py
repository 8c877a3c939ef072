"""What stands before a call: how many may be in progress at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from liquidation.core import catalogue
from liquidation.core.model import Refusal
from liquidation.core.rules import RETRY_AFTER_S

__all__ = ["Guard"]

_TOO_MANY: Final = Refusal(catalogue.RATE_LIMIT_EXCEEDED, retry_after_s=RETRY_AFTER_S)


class Guard:
    """Counts the calls in progress; a stream counts as one from its first item on."""

    def __init__(self, max_concurrent_calls: int) -> None:
        """`max_concurrent_calls` is inclusive."""
        self._most = max_concurrent_calls
        self._in_progress = 0

    @contextmanager
    def admit(self) -> Iterator["Admission"]:
        """Counts a call while the block runs, if it is not one too many."""
        admission = Admission(self)
        try:
            admission.ask()
            yield admission
        finally:
            if admission.granted:
                self._in_progress -= 1

    def take(self) -> bool:
        """Counts one more call in progress, if it may be."""
        if self._in_progress >= self._most:
            return False
        self._in_progress += 1
        return True


class Admission:
    """Whether a call may go on. One that was refused may ask again, and holds no place."""

    __slots__ = ("_guard", "granted")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.granted = False

    def ask(self) -> Refusal | None:
        """The refusal where the call is one too many now."""
        self.granted = self.granted or self._guard.take()
        return self.refusal

    @property
    def refusal(self) -> Refusal | None:
        """What was answered when it was last asked."""
        return None if self.granted else _TOO_MANY
