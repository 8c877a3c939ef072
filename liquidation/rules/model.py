"""The values that rules decide on and answer with. All are immutable; all numbers are exact.

Names are those of the API. Quantities are in base units and signed (negative is short), amounts
and notionals in USDC, ratios plain fractions (1 is the whole).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

from liquidation.rules.errors import ErrorRow
from liquidation.rules.numbers import Ratio, product

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """Makes `cls` a value: slots, equality, a hash, and fields that the type checker freezes.

    A dataclass that is frozen at run time sets each field through `object.__setattr__`: it takes
    0.8 µs to make one of nine fields, this takes 0.15 µs, and a decision makes a dozen of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Tier(Enum):
    """Which threshold and which shape of claim a liquidation takes; values as on the wire."""

    LOW = 1
    HIGH = 2

    # Members are single: an Enum's own hash is of its name, in Python, and four times as slow.
    __hash__ = object.__hash__


@value
class Position:
    """A position to be taken over: quantity not zero, mark price above zero."""

    symbol: str
    position_qty: Decimal
    mark_price: Decimal

    @property
    def notional(self) -> Decimal:
        """|position_qty × mark_price| in USDC, exactly."""
        return product(self.position_qty, self.mark_price).copy_abs()


@value
class MarginPosition:
    """A position of a margin account with its symbol's parameters.

    `base_mmr` is None where it was not given, which only a liquidator's account may do.
    """

    symbol: str
    position_qty: Decimal
    mark_price: Decimal
    base_mmr: Decimal | None
    base_imr: Decimal
    imr_factor: Decimal


@value
class MarginAccount:
    """All positions of an account. `max_leverage` is None where no formula needs it."""

    collateral_value: Decimal
    positions: tuple[MarginPosition, ...]
    max_leverage: Decimal | None


@value
class Liquidation:
    """A snapshot of an account under liquidation.

    The two ratios are as given, or computed from `account`. `snapshot_time_ns` is in nanoseconds
    since the Unix epoch, None where it was not given; nothing is decided on it.
    """

    liquidation_id: int
    account_id: str
    tier: Tier
    positions: tuple[Position, ...]
    margin_ratio: Ratio
    maintenance_margin_ratio: Ratio
    revision: int
    snapshot_time_ns: int | None = None
    account: MarginAccount | None = None
    # For `rules.decision.facts_of`, to keep what follows from the snapshot; not part of its value.
    facts: Any = field(default=None, init=False, compare=False, repr=False)


@value
class Liquidator:
    """The liquidator's account before the claim."""

    liquidator_id: str
    account: MarginAccount


@value
class SymbolRatio:
    """How much of one symbol is claimed."""

    symbol: str
    ratio_qty_request: Decimal


@value
class Terms:
    """What a liquidator asks for: one ratio for all positions, or one for each named symbol.

    `ratio_qty_request` is None exactly where `symbols` is not empty.
    """

    liquidation_id: int
    liquidator_id: str
    ratio_qty_request: Decimal | None
    extra_liquidation_ratio: Decimal
    symbols: tuple[SymbolRatio, ...] = ()
    limit_price: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def ratios(self) -> tuple[Decimal, ...]:
        """Every ratio in the terms."""
        if self.ratio_qty_request is not None:
            return (self.ratio_qty_request,)
        return tuple([named.ratio_qty_request for named in self.symbols])


@value
class ClaimedPosition:
    """What an accepted claim takes: qty = position_qty × ratio, max_qty = × (ratio + extra).

    `notional` is |qty × mark_price| in USDC. All three are plain decimals as text, rendered once.
    """

    symbol: str
    qty: str
    max_qty: str
    notional: str


class ClaimState(Enum):
    """Where a claim stands; values as on the wire."""

    ACTIVE = 1
    COMPLETED = 2
    CANCELLED = 3
    EXPIRED = 4


@value
class Claim:
    """A claim that was granted. Times are in microseconds since the Unix epoch.

    `end_us` is None and `end_reason` "" while it is active.
    """

    claim_id: str
    request_id: str
    account_id: str
    terms: Terms
    liquidation_revision: int
    fencing_token: int
    state: ClaimState
    positions: tuple[ClaimedPosition, ...]
    begin_us: int
    expire_us: int
    end_us: int | None = None
    end_reason: str = ""


@value
class ClaimEvent:
    """One thing that happened to a claim: `begin`, `renew`, `complete`, `cancel` or `expire`.

    `expire_us` is the lease's end from then on; `forced` tells an operator's cancel.
    """

    change: str
    time_us: int
    expire_us: int
    reason: str = ""
    forced: bool = False


@value
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    description: str


@value
class ActiveClaim:
    """The claim that holds an account's slot, and how long its lease still runs (seconds)."""

    claim_id: str
    lease_left_s: Decimal


@value
class StoredState:
    """What the store knows about a request when it is decided, read at one moment.

    `last_completed_revision` is the revision of the last completed claim on the account.
    """

    liquidation: Liquidation | None = None
    closed: bool = False
    liquidator_in_liquidation: bool = False
    active_claim: ActiveClaim | None = None
    last_completed_revision: int | None = None
    # For the log, to keep the state as it writes it; not part of its value.
    rendered: Any = field(default=None, init=False, compare=False, repr=False)


@value
class ThresholdCheck:
    """One comparison with the tier's threshold: the whole liquidation (LOW) or a symbol (HIGH).

    `ratio` is None if the terms have none for it.
    """

    symbol: str | None
    notional: Decimal
    ratio: Decimal | None


# What a claim is about: positions, and the ratio that is asked for of each.
Claimed = tuple[tuple[Position, Decimal], ...]


@value
class ClaimRequest:
    """A request for a claim as it was parsed. With `violations` nothing else of it is to be used.

    `terms` is None exactly if there are violations. `unknown_fields` are the paths of fields that
    the service does not know.
    """

    terms: Terms | None = None
    snapshot: Liquidation | None = None
    liquidator: Liquidator | None = None
    violations: tuple[FieldViolation, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    explain: bool = False


@value
class Refusal:
    """Why a request is refused: a row of the table of errors, and the numbers that it speaks of.

    `values` are shown in the details; those that the row's template names also stand in the
    message. `subject` names the thing that the refusal is about, such as "liquidations/42".
    """

    row: ErrorRow = field(hash=False)
    rule: str = ""
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    violations: tuple[FieldViolation, ...] = field(default=(), hash=False)
    subject: str = ""
    not_found: tuple[str, str] | None = field(default=None, hash=False)  # its type and its name
    retry_after_s: Decimal | None = field(default=None, hash=False)
    # The row's words with numbers filled in: the line, the status and its details share them.
    message: str = field(default="", init=False, compare=False, hash=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", self.row.render(self.values))


class Outcome(Enum):
    """What became of one rule; values as on the wire."""

    PASSED = 1
    REFUSED = 2
    SKIPPED = 3
    SHADOW_REFUSED = 4


@value
class RuleResult:
    """One rule's part in a decision. `refusal` is None unless it refused, or would have."""

    rule: str
    outcome: Outcome
    refusal: Refusal | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
