"""The contract of a store. Every implementation passes the one conformance suite in the tests.

A store decides nothing: it holds values and its guarantees by constraints and conditional updates
in one transaction. A method returns when what it did is durable, and raises when it is not known
to be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, Self

from liquidation.rules.model import (
    ActiveClaim,
    Claim,
    ClaimEvent,
    ClaimState,
    Decision,
    Liquidation,
    StoredState,
    Terms,
)

__all__ = [
    "TIMEOUT_S",
    "AccountMismatchError",
    "BeginRequest",
    "BeginResult",
    "ChangeResult",
    "ClaimActiveError",
    "ClaimFilter",
    "ClaimPage",
    "CommitObserver",
    "Page",
    "PutResult",
    "SchemaError",
    "StateQuery",
    "Store",
    "StoreError",
    "StoreUnavailableError",
]

# How long a caller waits for a store by default, in seconds; then it is told that there was no
# answer.
TIMEOUT_S: Final = 2.0

# Is told of each group of writes once it is on disk: how many they are, and how many seconds the
# commit took, waiting for other processes included. Called on whatever thread commits.
CommitObserver = Callable[[int, float], None]


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


class ClaimActiveError(StoreError):
    """A liquidation was to be closed while `active`, a claim on it, is."""

    def __init__(self, active: ActiveClaim) -> None:
        super().__init__(f"claim {active.claim_id} is active")
        self.active = active


class StateQuery(NamedTuple):
    """What a request is about: its liquidation, whose account it says that is, and who claims.

    `account_id` is that of the snapshot sent with the request, "" where there is none.
    """

    liquidation_id: int
    liquidator_id: str
    account_id: str = ""

    @classmethod
    def about(cls, terms: Terms, snapshot: Liquidation | None) -> Self:
        """The question that a request asks by its terms and the snapshot that it brought."""
        account_id = "" if snapshot is None else snapshot.account_id
        return cls(terms.liquidation_id, terms.liquidator_id, account_id)


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


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """A claim that is to be granted if the rules accept it.

    `claim_id` and `decision_id` are new; `snapshot` is what the request brought, if anything.
    """

    request_id: str
    claim_id: str
    decision_id: str
    terms: Terms
    snapshot: Liquidation | None
    lease_us: int


@dataclass(frozen=True, slots=True)
class BeginResult:
    """What became of a BeginRequest.

    - Refused: `claim` is None, and `verdict` says why.
    - Granted: `claim` is new, and `verdict` the decision that granted it.
    - Known: `known` is True, `claim` is what the request_id got before, and `verdict` and
      `decision_id` are those of then. Nothing was changed.

    `state` is what was decided on, None where the claim was known. `put` is what became of the
    snapshot, `expired` are claims whose lease was found to have run out.
    """

    claim: Claim | None
    verdict: Decision
    decision_id: str
    known: bool = False
    state: StoredState | None = None
    put: PutResult | None = None
    expired: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """A claim as it stands after a change was tried, None where there is none of that id."""

    claim: Claim | None
    applied: bool


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    """Which claims: "" , 0 and None stand for all."""

    account_id: str = ""
    liquidation_id: int = 0
    state: ClaimState | None = None


@dataclass(frozen=True, slots=True)
class ClaimPage:
    """Some claims, newest first, and the token below which the next page begins."""

    claims: Sequence[Claim]
    next_below: int | None


class Store(Protocol):
    """Where liquidations and claims are kept. All methods raise StoreUnavailableError.

    Leases are judged by the store's clock. A claim whose lease has run out is EXPIRED for every
    reader at once, whether or not that is written down yet.
    """

    async def states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
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
        """Ends an open liquidation, for good, and returns it; None where there is none.

        Raises:
            ClaimActiveError: a claim on it is active; the liquidation stays open.
        """
        ...

    async def begin(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult:
        """Grants a claim if `decide` accepts it: one active claim an account, whoever else tries.

        The request_id, the snapshot, the decision and the account's slot are one transaction.
        `decide` is pure; it may be asked more than once.
        """
        ...

    async def renew(self, claim_id: str, token: int, lease_us: int) -> ChangeResult:
        """Lets an active claim's lease run for `lease_us` from now."""
        ...

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str
    ) -> ChangeResult:
        """Ends an active claim as COMPLETED or CANCELLED. A `token` of None fits every claim."""
        ...

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        """The claim of that claim_id, or else of that request_id."""
        ...

    async def history(self, claim_id: str) -> Sequence[ClaimEvent]:
        """Everything that happened to a claim, oldest first."""
        ...

    async def claims(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        """Up to `size` claims with a fencing token below `below`, newest first."""
        ...

    async def count_active(self) -> int:
        """How many claims are active and their lease not over, on all accounts."""
        ...

    async def expire(self, most: int) -> Sequence[Claim]:
        """Writes down up to `most` leases that ran out; each is returned to one caller only."""
        ...

    async def purge(self, retention_us: int, most: int) -> int:
        """Forgets up to `most` claims that ended longer than `retention_us` ago; returns how many.

        What an account's last completed claim settled is not forgotten.
        """
        ...

    async def probe(self) -> None:
        """Returns where the store answers; raises StoreUnavailableError where it does not."""
        ...

    async def aclose(self) -> None:
        """Finishes what is under way and releases everything. Nothing may be called after."""
        ...
