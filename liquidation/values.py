"""The values that callers of the service send and get: the messages of the API as plain Python.

Each value mirrors the message of its name, field by field. A number is given as a `Decimal` or as a
text (`Number`): a text travels as it is, well formed or not, and a Decimal is written plainly and
exactly. Neither a float nor an int is taken: a float has lost digits before it arrives, and one
rule without exceptions is easier to keep. What the service answers holds Decimals. None stands for
what is absent.

Times are aware datetimes, those of an answer in UTC. They have microseconds: what a sent Timestamp
has below them is cut off when it is read.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, cast, get_args, get_type_hints

from liquidation.rules.model import ClaimState, Tier
from liquidation.rules.model import Outcome as RuleOutcome
from liquidation.rules.policy import Mode as RuleMode

__all__ = [
    "CheckedClaim",
    "Claim",
    "ClaimEvent",
    "ClaimRecord",
    "ClaimRequest",
    "ClaimState",
    "ClaimTerms",
    "ClaimedPosition",
    "Decision",
    "ErrorCode",
    "FieldViolation",
    "GrantedClaim",
    "Liquidation",
    "Liquidator",
    "MarginAccount",
    "MarginPosition",
    "Number",
    "Position",
    "PutResult",
    "RuleInForce",
    "RuleMode",
    "RuleOutcome",
    "RuleResult",
    "Rules",
    "SymbolRatio",
    "Tier",
    "TierRules",
]

# What a caller may give for a number. What the service answers is always a Decimal.
Number = Decimal | str


@dataclass(frozen=True, slots=True)
class _Sendable:
    """A value that callers make. It checks its numbers and times where it is made.

    Raises:
        TypeError: a number is neither a Decimal nor a text.
        ValueError: a time has no time zone.
    """

    def __post_init__(self) -> None:
        for name in _number_fields(cast("Hashable", type(self))):
            for number in _each(getattr(self, name)):
                if not isinstance(number, Decimal | str):
                    kind = type(number).__name__
                    raise TypeError(f"{name} must be a Decimal or a str, not {kind}")


@cache
def _number_fields(kind: Hashable) -> tuple[str, ...]:
    """The fields that hold a number, or numbers by key."""
    return tuple(
        name
        for name, hint in get_type_hints(kind).items()
        if {hint, *get_args(hint)} & {Decimal, Number}
    )


def _each(held: Any) -> Iterator[Any]:
    if isinstance(held, Mapping):
        yield from held.values()
    elif held is not None:
        yield held


@dataclass(frozen=True, slots=True)
class Position(_Sendable):
    """A position to be taken over: signed quantity in base units, mark price in USDC."""

    symbol: str
    position_qty: Number
    mark_price: Number


@dataclass(frozen=True, slots=True)
class MarginPosition(_Sendable):
    """A position of a margin account. A liquidator's needs no `base_mmr`."""

    symbol: str
    position_qty: Number
    mark_price: Number
    base_imr: Number
    imr_factor: Number
    base_mmr: Number | None = None


@dataclass(frozen=True, slots=True)
class MarginAccount(_Sendable):
    """All positions of an account, with its collateral. A liquidator's needs `max_leverage`."""

    collateral_value: Number
    positions: Sequence[MarginPosition] = ()
    max_leverage: Number | None = None


@dataclass(frozen=True, slots=True)
class Liquidation(_Sendable):
    """A snapshot of an account under liquidation: with the two ratios, or with its `account`.

    `revision` grows with every new snapshot of the account, and is given by name. A snapshot whose
    revision is not above the stored one's changes nothing, so it has no default.
    """

    liquidation_id: int
    account_id: str
    tier: Tier | None
    positions: Sequence[Position]
    margin_ratio: Number | None = None
    maintenance_margin_ratio: Number | None = None
    revision: int = field(kw_only=True)
    snapshot_time: datetime | None = None
    account: MarginAccount | None = None

    def __post_init__(self) -> None:
        _Sendable.__post_init__(self)
        if self.snapshot_time is not None and self.snapshot_time.tzinfo is None:
            raise ValueError("snapshot_time must have a time zone")


@dataclass(frozen=True, slots=True)
class Liquidator:
    """The account of the liquidator who claims, before the claim."""

    liquidator_id: str
    account: MarginAccount | None


@dataclass(frozen=True, slots=True)
class SymbolRatio(_Sendable):
    """How much of one symbol is claimed: 0..1, both inclusive."""

    symbol: str
    ratio_qty_request: Number


@dataclass(frozen=True, slots=True)
class ClaimTerms(_Sendable):
    """What a liquidator asks for: `ratio_qty_request` of all, or `symbols` with one ratio each."""

    liquidation_id: int
    liquidator_id: str
    ratio_qty_request: Number | None = None
    extra_liquidation_ratio: Number | None = None
    symbols: Sequence[SymbolRatio] = ()
    limit_price: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A CheckClaimRequest: may this liquidator take over these positions, now?

    Without `liquidation` the stored snapshot is decided on; without `liquidator` its margin is not
    checked. `explain` asks for the decision's trace.
    """

    terms: ClaimTerms
    liquidation: Liquidation | None = None
    liquidator: Liquidator | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class ClaimedPosition:
    """What a claim takes of one position: qty × mark price is its notional in USDC."""

    symbol: str
    qty: Decimal
    max_qty: Decimal
    notional: Decimal


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule's part in a decision; `code` is 0 where it does not refuse."""

    rule: str
    outcome: RuleOutcome | None
    code: int
    message: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on one claim. A number is None where it could not be computed.

    `rule` is the one that refused, "" when accepted; `trace` is empty unless asked for.
    """

    decision_id: str
    accepted: bool
    rule: str
    total_notional: Decimal | None
    least_req_ratio: Decimal | None
    margin_ratio: Decimal | None
    maintenance_margin_ratio: Decimal | None
    liquidation_revision: int
    rules_version: str
    trace: Sequence[RuleResult]


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """The answer to a claim that is accepted: the decision, and what the claim takes."""

    decision: Decision
    positions: Sequence[ClaimedPosition]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that was granted: it holds its account's one slot while it is ACTIVE.

    `liquidation_revision` is that of the snapshot that was decided on. A newer claim has a greater
    `fencing_token`. `expire_time` is the end of the lease. `end_time` is None, and `end_reason` "",
    while the claim is ACTIVE. A state that this version does not know is None.
    """

    claim_id: str
    request_id: str
    account_id: str
    terms: ClaimTerms
    liquidation_revision: int
    fencing_token: int
    state: ClaimState | None
    positions: Sequence[ClaimedPosition]
    begin_time: datetime
    expire_time: datetime
    end_time: datetime | None
    end_reason: str


@dataclass(frozen=True, slots=True)
class GrantedClaim:
    """The answer to a claim that is granted: the claim as it stands, and what granted it."""

    claim: Claim
    decision: Decision


@dataclass(frozen=True, slots=True)
class ClaimEvent:
    """One change of a claim: "begin", "renew", "complete", "cancel" or "expire".

    `expire_time` is the lease's end from then on; `forced` tells an operator's cancel.
    """

    change: str
    time: datetime
    expire_time: datetime
    reason: str
    forced: bool


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim as it stands, and all that happened to it, oldest first."""

    claim: Claim
    history: Sequence[ClaimEvent]


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of a snapshot that was put, and the liquidation as it is stored now.

    `applied` is False where nothing was changed: a revision as high is stored, or the liquidation
    is `closed`.
    """

    liquidation: Liquidation
    applied: bool
    closed: bool


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A row of the exchange's error table, how it travels, and whether this service says it."""

    code: int
    http_status: int
    name: str
    message: str
    grpc_code: str
    emitted: bool


@dataclass(frozen=True, slots=True)
class TierRules:
    """A tier, and the least notional of a claim on it in USDC, inclusive."""

    tier: Tier | None
    min_claim_notional: Decimal


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule and how it is applied."""

    rule: str
    mode: RuleMode | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force, in the order in which they decide, with thresholds and limits."""

    version: str
    tiers: Sequence[TierRules]
    rules: Sequence[RuleInForce]
    default_lease_ttl: timedelta | None
    claim_retention: timedelta | None
    max_request_bytes: int
    max_concurrent_calls: int
    liquidator_requests_per_second: int


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request, given by its path."""

    field: str
    description: str
