"""Time that a test moves by hand."""


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Moves the clock; a negative number moves it back."""
        self._now_us += round(seconds * 1_000_000)
