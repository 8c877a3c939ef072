"""The contract of a store. Every implementation passes the one conformance suite in the tests.

A store decides nothing: it holds values and its guarantees by constraints and conditional updates
in one transaction. A method returns when what it did is durable, and raises when it is not known
to be.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol, Self, TypeVar

from liquidation.rules.decision import Decision
from liquidation.rules.model import (
    ActiveClaim,
    Claim,
    ClaimEvent,
    ClaimState,
    Liquidation,
    StoredState,
    Terms,
)

# How long a caller waits for a store by default, in seconds; then it is told that there was no
# answer.
TIMEOUT_S: Final = 2.0
# Bytes of stored rows after which a page ends, whatever was asked for: what a client takes by
# default is 4 MiB, and to read and render more would hold everyone up.
MAX_PAGE_BYTES: Final = 2 * 1024 * 1024

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

    - Refused: `claim` is None, and `decision` says why.
    - Granted: `claim` is new, and `decision` the decision that granted it.
    - Known: `known` is True, `claim` is what the request_id got before, and `decision` and
      `decision_id` are those of then. Nothing was changed.

    `state` is what was decided on, None where the claim was known. `put` is what became of the
    snapshot, `expired` are claims whose lease was found to have run out.
    """

    claim: Claim | None
    decision: Decision
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
class ClaimRecord:
    """A claim as it stands, and everything that happened to it, oldest first."""

    claim: Claim
    history: Sequence[ClaimEvent]


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


_R = TypeVar("_R")

# What is told how a request to a store ended: with a result, or with the exception that stands for
# it (StoreUnavailableError, or one that the method names). Called exactly once, on the caller's
# thread or on one of the store's; it must not wait.
Done = Callable[[_R | Exception], None]
# Is told of an error that is nobody's answer; must not raise.
Fault = Callable[[Exception], None]


def tell(callback: Callable[[_R], None], outcome: _R, on_fault: Fault) -> None:
    """Calls `callback`, and tells `on_fault` what it raises."""
    try:
        callback(outcome)
    except Exception as error:  # noqa: BLE001 - a fault of whoever is told
        with suppress(Exception):
            on_fault(error)


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


class Store(Protocol):
    """Where liquidations and claims are kept.

    Every method returns at once. What was asked for is told to `done` when it is durable, or with
    StoreUnavailableError when it is not known to be.

    Leases are judged by the store's clock. A claim whose lease has run out is EXPIRED for every
    reader at once, whether or not that is written down yet.
    """

    def states(self, queries: Sequence[StateQuery]) -> list[StoredState] | None:
        """What is known about each request, in order, all as it is at one moment.

        None if this store cannot tell without waiting: then `read_states` asks it.

        Raises:
            StoreUnavailableError: the store cannot be read.
        """
        ...

    def read_states(self, queries: Sequence[StateQuery], done: Done[list[StoredState]]) -> None:
        """As `states`, by whatever it takes."""
        ...

    def put(self, liquidations: Sequence[Liquidation], done: Done[list[PutResult]]) -> None:
        """Stores snapshots, all or none, and answers for each in order.

        A snapshot is applied if its liquidation is new, or open with a lower revision stored. Ends
        with AccountMismatchError if one of them is stored for another account.
        """
        ...

    def get(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        """The open liquidation of that id; None if it is closed or not known."""
        ...

    def page(self, account_id: str, after: int, size: int, done: Done[Page]) -> None:
        """Up to `size` open liquidations with an id above `after`, by growing id.

        Of one account only, unless `account_id` is "". A page may have fewer: it ends behind the
        row with which it reaches `MAX_PAGE_BYTES`.
        """
        ...

    def close_liquidation(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        """Ends an open liquidation, for good, and tells it; None if there is none.

        Ends with ClaimActiveError if a claim on it is active; the liquidation stays open.
        """
        ...

    def begin(
        self,
        request: BeginRequest,
        decide: Callable[[StoredState], Decision],
        done: Done[BeginResult],
    ) -> None:
        """Grants a claim if `decide` accepts it: one active claim an account, whoever else tries.

        The request_id, the snapshot, the decision and the account's slot are one transaction.
        `decide` is pure; it may run more than once, on any thread.
        """
        ...

    def renew(self, claim_id: str, token: int, lease_us: int, done: Done[ChangeResult]) -> None:
        """Lets an active claim's lease run for `lease_us` from now."""
        ...

    def end(
        self,
        claim_id: str,
        token: int | None,
        state: ClaimState,
        reason: str,
        done: Done[ChangeResult],
    ) -> None:
        """Ends an active claim as COMPLETED or CANCELLED. A `token` of None fits every claim."""
        ...

    def claim(
        self, *, claim_id: str = "", request_id: str = "", done: Done[ClaimRecord | None]
    ) -> None:
        """The claim of that claim_id, or else of that request_id, with its history.

        Both are read at one moment.
        """
        ...

    def claims(
        self, wanted: ClaimFilter, below: int | None, size: int, done: Done[ClaimPage]
    ) -> None:
        """Up to `size` claims with a fencing token below `below`, newest first.

        A page may have fewer, as one of liquidations.
        """
        ...

    def count_active(self, done: Done[int]) -> None:
        """How many claims are active and their lease not over, on all accounts."""
        ...

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        """Writes down up to `most` leases that ran out; each is told to one caller only."""
        ...

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        """Forgets up to `most` claims that ended longer than `retention_us` ago; tells how many.

        What an account's last completed claim settled is not forgotten.
        """
        ...

    def probe(self, done: Done[None]) -> None:
        """Ends well if the store answers."""
        ...

    def close(self) -> None:
        """Finishes what is under way and releases everything. Nothing may be called after."""
        ...
