"""Time that a test moves by hand."""


class Clock:
    """A store's clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self._wall_us = 1_800_000_000_000_000
        self._lease_us = 5_000_000

    def lease_us(self) -> int:
        return self._lease_us

    def wall_us(self) -> int:
        return self._wall_us

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._lease_us += round(seconds * 1_000_000)
        self._wall_us += round(seconds * 1_000_000)

    def set_wall(self, seconds: float) -> None:
        """Sets the wall clock forward, or back by a negative number; no time passes."""
        self._wall_us += round(seconds * 1_000_000)

    def restart(self) -> None:
        """The host starts again: its boot clock begins anew."""
        self.boot_id = f"{self.boot_id}+"
        self._lease_us = 1_000_000
