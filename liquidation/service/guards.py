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
    """Counts the calls in progress; a stream counts as one for as long as it is open."""

    def __init__(self, max_concurrent_calls: int) -> None:
        """`max_concurrent_calls` is inclusive."""
        self._most = max_concurrent_calls
        self._in_progress = 0

    @contextmanager
    def admit(self) -> Iterator[Refusal | None]:
        """Counts a call while it is in progress; yields the refusal where it is one too many."""
        self._in_progress += 1
        try:
            yield _TOO_MANY if self._in_progress > self._most else None
        finally:
            self._in_progress -= 1
