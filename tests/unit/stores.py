"""A store that answers what a test lets it answer, when it is let to."""

from collections.abc import Sequence
from typing import Any

from liquidation.rules.model import Claim
from liquidation.store.base import Done

__all__ = ["SilentStore"]


class SilentStore:
    """Keeps what it is asked, until a test answers; of it only what the upkeep asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def probe(self, done: Done[None]) -> None:
        self.asked.append(("probe", done))

    def count_active(self, done: Done[int]) -> None:
        self.asked.append(("count_active", done))

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        self.asked.append((f"expire {most}", done))

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        self.asked.append((f"purge {retention_us} {most}", done))
