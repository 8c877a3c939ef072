"""How much a store holds, as people who look after it ask."""

from dataclasses import dataclass
from datetime import datetime

__all__ = ["StoreStats"]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How many of each there are.

    The lease of an `active` claim runs. That of an `overdue` one has run out, which is not written
    down yet. `oldest_end` is when the claim ended that is to be purged first; None where none has.
    """

    open_liquidations: int
    closed_liquidations: int
    active: int
    overdue: int
    completed: int
    cancelled: int
    expired: int
    oldest_end: datetime | None
