"""What the rules look at, and the decision that comes of it.

What follows from a snapshot alone is derived once, and kept with it for as long as it is held.
"""

from dataclasses import field
from decimal import Decimal
from typing import Any

from liquidation.rules.model import (
    Claimed,
    ClaimedPosition,
    FieldViolation,
    Liquidation,
    Liquidator,
    Position,
    Refusal,
    RuleResult,
    StoredState,
    Terms,
    ThresholdCheck,
    Tier,
    value,
)
from liquidation.rules.numbers import at_least, least_ratio, plain, total
from liquidation.rules.policy import Policy
from liquidation.rules.record import Record, liquidation_record


class SnapshotFacts:
    """Sums, comparisons and texts of one snapshot.

    `total_notional` is Σ|position_qty × mark_price| in USDC, exact. `margin_is_enough` tells
    whether margin_ratio >= maintenance_margin_ratio. `record` is the snapshot as it is logged;
    `rendered` is for the log, to keep that record as it writes it.
    """

    __slots__ = (
        "_by_symbol",
        "_positions",
        "_whole",
        "maintenance_margin_ratio_text",
        "margin_is_enough",
        "margin_ratio_text",
        "record",
        "rendered",
        "total_notional",
        "total_notional_text",
    )

    def __init__(self, liquidation: Liquidation) -> None:
        self._positions = liquidation.positions
        self._by_symbol: dict[str, Position] | None = None
        self.total_notional: Decimal = total([each.notional for each in liquidation.positions])
        self.total_notional_text = plain(self.total_notional)
        margin, maintenance = liquidation.margin_ratio, liquidation.maintenance_margin_ratio
        self.margin_is_enough = at_least(margin, maintenance)
        self.margin_ratio_text = plain(margin)
        self.maintenance_margin_ratio_text = plain(maintenance)
        self.record: Record = liquidation_record(liquidation)
        self.rendered: Any = None
        self._whole: WholeClaim | None = None

    def whole_claim(self, policy: Policy, ratio: Decimal, extra: Decimal) -> "WholeClaim":
        """What all claims of these shares on all positions have in common; the last one is kept.

        Liquidators ask for the same share of everything again and again.
        """
        whole = self._whole
        if (
            whole is None
            or whole.policy is not policy
            or whole.ratio != ratio
            or whole.extra != extra
        ):
            whole = WholeClaim(policy, ratio, extra, self._positions, self)
            # Set at once, since other threads decide on the same snapshot.
            self._whole = whole
        return whole

    def least_ratio_text(self, threshold: Decimal) -> str:
        """The least ratio of all positions that passes, as text."""
        return plain(least_ratio(threshold, self.total_notional))

    @property
    def by_symbol(self) -> dict[str, Position]:
        """The positions by their symbols."""
        if self._by_symbol is None:
            self._by_symbol = {each.symbol: each for each in self._positions}
        return self._by_symbol


class WholeClaim:
    """A claim on all positions of a LOW liquidation under one policy, whoever asks for it.

    It takes `ratio` and `extra` of each. `claimed` and `checks` are as in `RuleInput`,
    `least_req_ratio` as in `Decision`; `positions`, what it takes, is filled in when it is granted
    for the first time. `answer` and `line` are for the API and the log, to keep what is the same in
    all answers and lines.
    """

    __slots__ = (
        "answer",
        "checks",
        "claimed",
        "extra",
        "least_req_ratio",
        "line",
        "policy",
        "positions",
        "ratio",
    )

    def __init__(
        self,
        policy: Policy,
        ratio: Decimal,
        extra: Decimal,
        positions: tuple[Position, ...],
        facts: SnapshotFacts,
    ) -> None:
        self.policy = policy
        self.ratio = ratio
        self.extra = extra
        self.claimed: Claimed = tuple([(position, ratio) for position in positions])
        self.checks = (ThresholdCheck(None, facts.total_notional, ratio),)
        self.least_req_ratio = facts.least_ratio_text(policy.min_claim_notional[Tier.LOW])
        self.positions: tuple[ClaimedPosition, ...] | None = None
        self.answer: bytes = b""
        self.line: Any = None


def facts_of(liquidation: Liquidation) -> SnapshotFacts:
    """The facts of a snapshot, derived when they are first asked for."""
    facts: SnapshotFacts | None = liquidation.facts
    if facts is None:
        facts = SnapshotFacts(liquidation)
        object.__setattr__(liquidation, "facts", facts)
    return facts


@value
class RuleInput:
    """All that the rules look at.

    `terms` is None if the request is not well formed, `state` if the store was not asked,
    `liquidation` and its `facts` if none is known, `claimed` if the terms do not fit the
    liquidation's tier and symbols, `checks` if the notional that the claim is about cannot be told.
    `whole` is what a claim on all positions has in common with others of the same shares.
    """

    policy: Policy
    unknown_fields: tuple[str, ...] = ()
    violations: tuple[FieldViolation, ...] = ()
    terms: Terms | None = None
    liquidator: Liquidator | None = None
    state: StoredState | None = None
    liquidation: Liquidation | None = None
    facts: SnapshotFacts | None = None
    claimed: Claimed | None = None
    checks: tuple[ThresholdCheck, ...] | None = None
    whole: WholeClaim | None = None


@value
class Decision:
    """A decision with everything that it was made from.

    The numbers are plain decimals as text, rendered once; "" if they cannot be computed. `trace` is
    empty unless it was asked for; `shadow` holds what rules in shadow mode would have refused.
    `given` is what the rules looked at, None if they were not asked.
    """

    refusal: Refusal | None
    rules_version: str
    total_notional: str = ""
    least_req_ratio: str = ""
    margin_ratio: str = ""
    maintenance_margin_ratio: str = ""
    liquidation_revision: int = 0
    account_id: str = ""
    positions: tuple[ClaimedPosition, ...] = ()
    trace: tuple[RuleResult, ...] = ()
    shadow: tuple[Refusal, ...] = ()
    given: RuleInput | None = field(default=None, compare=False, repr=False)

    @property
    def accepted(self) -> bool:
        """Whether no rule refused."""
        return self.refusal is None
