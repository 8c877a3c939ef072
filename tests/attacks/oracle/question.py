"""What a request asks, of which liquidation, by which rules; nothing of the service."""

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

from tests.attacks.oracle.answers import InForce, State
from tests.attacks.oracle.form import is_well_formed
from tests.attacks.oracle.margins import notional
from tests.attacks.oracle.numbers import number

Json = Mapping[str, Any]


class Question:
    """A request, what is stored, and the rules; what it asks is computed when asked for."""

    def __init__(
        self, request: Json, state: State, in_force: InForce, *, unknown_field: bool
    ) -> None:
        self.state = state
        self.in_force = in_force
        self.unknown_field = unknown_field
        self.sent = request.get("liquidation")
        self.liquidator = request.get("liquidator")
        self.terms: Json = request.get("terms", {})
        self.is_well_formed = is_well_formed(request)
        self.named: list[Json] = list(self.terms.get("symbols", []))
        self.decided_on = self._snapshot() if self.is_well_formed else None

    def _snapshot(self) -> Json | None:
        sent, stored = self.sent, self.state.stored
        if self.state.closed:
            return None
        if sent is None or stored is None:
            return sent if stored is None else stored
        if sent["account_id"] != stored["account_id"]:
            # Choice: an id that is another account's is not the given one.
            return None
        return stored if sent["revision"] < stored["revision"] else sent

    @property
    def liquidation(self) -> Json:
        assert self.decided_on is not None
        return self.decided_on

    @cached_property
    def positions(self) -> dict[str, Json]:
        return {each["symbol"]: each for each in self.liquidation["positions"]}

    @cached_property
    def ratios(self) -> list[tuple[str, Fraction]]:
        """Each ratio of the terms, with its symbol; "" is the whole."""
        if self.named:
            return [(each["symbol"], number(each["ratio_qty_request"])) for each in self.named]
        return [("", number(self.terms["ratio_qty_request"]))]

    @cached_property
    def extra(self) -> Fraction:
        return number(self.terms.get("extra_liquidation_ratio") or "0")

    @property
    def is_low(self) -> bool:
        return bool(self.liquidation["tier"] == "TIER_LOW")

    @property
    def threshold(self) -> Fraction:
        return number(self.in_force.thresholds[self.liquidation["tier"]])

    @property
    def _names_listed_symbols(self) -> bool:
        names = {each["symbol"] for each in self.named}
        return bool(names) and names <= self.positions.keys()

    @cached_property
    def fits_tier(self) -> bool:
        if not set(self.terms.get("limit_price", {})) <= self.positions.keys():
            return False
        return not self.named if self.is_low else self._names_listed_symbols

    @cached_property
    def demands(self) -> list[tuple[str, Fraction]]:
        """Symbol and notional of each comparison with the threshold; "" is the whole."""
        if self.is_low:
            return [("", sum(map(notional, self.positions.values()), Fraction(0)))]
        if not self._names_listed_symbols:
            return []
        return [(symbol, notional(self.positions[symbol])) for symbol, _ in self.ratios]

    @cached_property
    def claimed(self) -> list[tuple[Json, Fraction]]:
        if self.is_low:
            return [(each, self.ratios[0][1]) for each in self.liquidation["positions"]]
        return [(self.positions[symbol], ratio) for symbol, ratio in self.ratios]
