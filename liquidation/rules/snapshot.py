"""What follows from a snapshot alone: derived once, and kept with it for as long as it is held."""

from decimal import Decimal
from typing import Any

from liquidation.rules.model import ClaimedPosition, Liquidation, Position
from liquidation.rules.numbers import at_least, least_ratio, plain, total
from liquidation.rules.record import Record, liquidation_record

__all__ = ["SnapshotFacts", "facts_of"]


class SnapshotFacts:
    """Sums, comparisons and texts of one snapshot.

    `total_notional` is Σ|position_qty × mark_price| in USDC, exact. `margin_is_enough` tells
    whether margin_ratio >= maintenance_margin_ratio. `record` is the snapshot as it is logged;
    `rendered` is for the log, to keep that record as it writes it. `claimed` is what a claim on all
    positions was given last: its shares, which are ratio_qty_request and extra_liquidation_ratio,
    and the positions.
    """

    __slots__ = (
        "_by_symbol",
        "_least_ratio",
        "_positions",
        "claimed",
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
        self._least_ratio: tuple[Decimal | None, str] = (None, "")
        self.total_notional: Decimal = total([each.notional for each in liquidation.positions])
        self.total_notional_text = plain(self.total_notional)
        margin, maintenance = liquidation.margin_ratio, liquidation.maintenance_margin_ratio
        self.margin_is_enough = at_least(margin, maintenance)
        self.margin_ratio_text = plain(margin)
        self.maintenance_margin_ratio_text = plain(maintenance)
        self.record: Record = liquidation_record(liquidation)
        self.rendered: Any = None
        self.claimed: tuple[tuple[Decimal | None, Decimal] | None, tuple[ClaimedPosition, ...]] = (
            None,
            (),
        )

    def least_ratio_text(self, threshold: Decimal) -> str:
        """The least ratio of all positions that passes, as text; kept for the last threshold."""
        known, text = self._least_ratio
        if known is not threshold:
            text = plain(least_ratio(threshold, self.total_notional))
            self._least_ratio = (threshold, text)
        return text

    @property
    def by_symbol(self) -> dict[str, Position]:
        """The positions by their symbols."""
        if self._by_symbol is None:
            self._by_symbol = {each.symbol: each for each in self._positions}
        return self._by_symbol


def facts_of(liquidation: Liquidation) -> SnapshotFacts:
    """The facts of a snapshot, derived when they are first asked for."""
    facts = liquidation.facts
    if facts is None:
        facts = SnapshotFacts(liquidation)
        object.__setattr__(liquidation, "facts", facts)
    return facts
