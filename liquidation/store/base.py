"""The contract of a store. Every implementation passes the one conformance suite in the tests.

A store decides nothing: it holds values and its guarantees by constraints and conditional updates
in one transaction. A method returns when what it did is durable, and raises when it is not known
to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from liquidation.core.model import Liquidation, Standing

__all__ = [
    "AccountMismatchError",
    "Page",
    "PutResult",
    "SchemaError",
    "StandingQuery",
    "Store",
    "StoreError",
    "StoreUnavailableError",
]


class StoreError(Exception):
    """What a store raises."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, or did not answer in time; what was asked may have happened."""


class SchemaError(StoreError):
    """The stored schema is not one that this version can use; only at start."""


class AccountMismatchError(StoreError):
    """A liquidation was put for another account than the one it is stored for.

    `index` is its place among those that were put. Nothing of the whole call was stored.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"liquidation {index} of the call belongs to another account")
        self.index = index


@dataclass(frozen=True, slots=True)
class StandingQuery:
    """What a request is about: its liquidation, and who claims."""

    liquidation_id: int
    liquidator_id: str


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of a snapshot that was put, and the liquidation as it is stored now.

    `applied` is False where the stored revision was not below, or the liquidation is closed.
    `opened` is True where the liquidation was not known before.
    """

    liquidation: Liquidation
    applied: bool
    opened: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the key after which the next page begins; None on the last page."""

    liquidations: Sequence[Liquidation]
    next_after: int | None


class Store(Protocol):
    """Where liquidations are kept. All methods raise StoreUnavailableError."""

    async def standings(self, queries: Sequence[StandingQuery]) -> list[Standing]:
        """What is known about each request, in order, all read at one moment."""
        ...

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        """Stores snapshots, all or none, and answers for each in order.

        A snapshot is applied where its liquidation is new, or open with a lower revision stored.

        Raises:
            AccountMismatchError: one of them is stored for another account.
        """
        ...

    async def get(self, liquidation_id: int) -> Liquidation | None:
        """The open liquidation of that id; None where it is closed or not known."""
        ...

    async def page(self, account_id: str, after: int, size: int) -> Page:
        """Up to `size` open liquidations with an id above `after`, by growing id.

        Of one account only, unless `account_id` is "".
        """
        ...

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        """Ends an open liquidation, for good, and returns it; None where there is none."""
        ...

    async def probe(self) -> None:
        """Returns where the store answers; raises StoreUnavailableError where it does not."""
        ...

    async def aclose(self) -> None:
        """Finishes what is under way and releases everything. Nothing may be called after."""
        ...
