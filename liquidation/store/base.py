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

# How long a caller waits for a store by default, in seconds.
TIMEOUT_S: Final = 2.0
# Bytes of stored rows after which a page ends: a gRPC client accepts 4 MiB by default, and to read
# and render more would block everyone else.
MAX_PAGE_BYTES: Final = 2 * 1024 * 1024

# Called after each group of writes, on the thread that commits: how many writes, and how many
# seconds the commit took, waiting for other processes included.
CommitObserver = Callable[[int, float], None]


class StoreError(Exception):
    """Base of what a store raises."""


class StoreUnavailableError(StoreError):
    """The store is unreachable or did not answer in time; the request may have taken effect."""


class SchemaError(StoreError):
    """This version cannot use the stored schema; raised at start only."""


class AccountMismatchError(StoreError):
    """The liquidation at `index` of a put is stored for another account; nothing was stored."""

    def __init__(self, index: int) -> None:
        super().__init__(f"liquidation {index} of the call belongs to another account")
        self.index = index


class ClaimActiveError(StoreError):
    """A liquidation cannot be closed while the claim `active` on it is."""

    def __init__(self, active: ActiveClaim) -> None:
        super().__init__(f"claim {active.claim_id} is active")
        self.active = active


class StateQuery(NamedTuple):
    """What a request is about; `account_id` is that of the snapshot it brought, "" if none."""

    liquidation_id: int
    liquidator_id: str
    account_id: str = ""

    @classmethod
    def about(cls, terms: Terms, snapshot: Liquidation | None) -> Self:
        """The query for a request's terms and snapshot."""
        account_id = "" if snapshot is None else snapshot.account_id
        return cls(terms.liquidation_id, terms.liquidator_id, account_id)


@dataclass(frozen=True, slots=True)
class PutResult:
    """The outcome for one snapshot, and the liquidation as it is stored now.

    `applied` is False if the stored revision is not lower, or the liquidation is closed. `opened`
    is True if the liquidation is new.
    """

    liquidation: Liquidation
    applied: bool
    opened: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Liquidations, and the id after which the next page begins; None on the last."""

    liquidations: Sequence[Liquidation]
    next_after: int | None


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """A claim to grant if the rules accept it; `claim_id` and `decision_id` are new."""

    request_id: str
    claim_id: str
    decision_id: str
    terms: Terms
    snapshot: Liquidation | None
    lease_us: int


@dataclass(frozen=True, slots=True)
class BeginResult:
    """The outcome of a BeginRequest.

    - Refused: `claim` is None, and `decision` says why.
    - Granted: `claim` is new, and `decision` the decision that granted it.
    - Known: `known` is True, and `claim`, `decision` and `decision_id` are what the request_id got
      before. Nothing was changed.

    `state` is what was decided on, None if the claim was known. `put` is the outcome for the
    snapshot, `expired` are claims whose leases had run out.
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
    """A claim after a change was tried; None if the id is unknown."""

    claim: Claim | None
    applied: bool


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim and its events, oldest first."""

    claim: Claim
    history: Sequence[ClaimEvent]


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    """Which claims to list; "", 0 and None stand for all."""

    account_id: str = ""
    liquidation_id: int = 0
    state: ClaimState | None = None


@dataclass(frozen=True, slots=True)
class ClaimPage:
    """Claims, newest first, and the token below which the next page begins; None on the last."""

    claims: Sequence[Claim]
    next_below: int | None


_R = TypeVar("_R")

# Takes a request's result or its exception (StoreUnavailableError, or one that the method names).
# Called exactly once, on the caller's thread or on one of the store's; it must not block.
Done = Callable[[_R | Exception], None]
# Takes an error that answers no request; must not raise.
Fault = Callable[[Exception], None]


def report(callback: Callable[[_R], None], outcome: _R, on_fault: Fault) -> None:
    """Calls `callback`, and reports what it raises to `on_fault`."""
    try:
        callback(outcome)
    except Exception as error:  # noqa: BLE001 - a fault of the callback
        with suppress(Exception):
            on_fault(error)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Row counts.

    The lease of an `overdue` claim has run out, which is not stored yet. `oldest_end` is the
    earliest end of a claim, None if none has ended.
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

    Every method returns at once. It calls `done` with the result when that is durable, or with
    StoreUnavailableError when it may not be.

    Leases run by the store's clock. A claim whose lease has run out is EXPIRED for every reader at
    once, whether or not that is stored yet.
    """

    def states(self, queries: Sequence[StateQuery]) -> list[StoredState] | None:
        """What is known about each request, in order, all at one moment.

        None if this store cannot answer without waiting: use `read_states` then.

        Raises:
            StoreUnavailableError: the store cannot be read.
        """
        ...

    def read_states(self, queries: Sequence[StateQuery], done: Done[list[StoredState]]) -> None:
        """As `states`, and waits if it must."""
        ...

    def put(self, liquidations: Sequence[Liquidation], done: Done[list[PutResult]]) -> None:
        """Stores snapshots, all or none; results are in their order.

        A snapshot is applied if its liquidation is new, or open with a lower revision stored. Ends
        with AccountMismatchError if one of them is stored for another account.
        """
        ...

    def get(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        """The open liquidation of that id; None if it is closed or unknown."""
        ...

    def page(self, account_id: str, after: int, size: int, done: Done[Page]) -> None:
        """Up to `size` open liquidations with an id above `after`, in ascending order.

        Of one account, unless `account_id` is "". A page also ends at `MAX_PAGE_BYTES`.
        """
        ...

    def close_liquidation(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        """Ends an open liquidation for good and returns it; None if there is none.

        Ends with ClaimActiveError if a claim on it is active; the liquidation stays open.
        """
        ...

    def begin(
        self,
        request: BeginRequest,
        decide: Callable[[StoredState], Decision],
        done: Done[BeginResult],
    ) -> None:
        """Grants a claim if `decide` accepts it; an account has one active claim at most.

        The request_id, the snapshot, the decision and the account's slot are one transaction.
        `decide` is pure; it may run more than once, on any thread.
        """
        ...

    def renew(self, claim_id: str, token: int, lease_us: int, done: Done[ChangeResult]) -> None:
        """Extends an active claim's lease to `lease_us` from now."""
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
        """The claim of that claim_id, or else of that request_id, and its history at one moment."""
        ...

    def claims(
        self, wanted: ClaimFilter, below: int | None, size: int, done: Done[ClaimPage]
    ) -> None:
        """Up to `size` claims with a fencing token below `below`, newest first; see `page`."""
        ...

    def count_active(self, done: Done[int]) -> None:
        """How many claims are active, on all accounts."""
        ...

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        """Stores the end of up to `most` leases that ran out; returns each to one caller only."""
        ...

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        """Deletes up to `most` claims that ended over `retention_us` ago; returns how many.

        An account's last completed revision stays.
        """
        ...

    def probe(self, done: Done[None]) -> None:
        """Succeeds if the store answers."""
        ...

    def close(self) -> None:
        """Finishes what is under way and releases everything; no call may follow."""
        ...
