"""A request as it came: its fields by name, all numbers still texts.

The messages of the API fit these protocols, and so does anything else with the same names; the
core reads them without knowing protobuf.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from liquidation.rules.model import FieldViolation
from liquidation.rules.value import value

__all__ = [
    "LiquidationText",
    "LiquidatorText",
    "MarginAccountText",
    "MarginPositionText",
    "PositionText",
    "RequestText",
    "Sent",
    "SnapshotText",
    "SymbolRatioText",
    "TermsText",
]


class PositionText(Protocol):
    """A position to be taken over."""

    symbol: str
    position_qty: str
    mark_price: str


class MarginPositionText(PositionText, Protocol):
    """A position of a margin account."""

    base_mmr: str
    base_imr: str
    imr_factor: str


class MarginAccountText(Protocol):
    """A margin account."""

    collateral_value: str
    max_leverage: str

    @property
    def positions(self) -> Sequence[MarginPositionText]: ...


class LiquidationText(Protocol):
    """The plain fields of a snapshot."""

    liquidation_id: int
    account_id: str
    margin_ratio: str
    maintenance_margin_ratio: str
    revision: int

    @property
    def tier(self) -> int: ...
    @property
    def positions(self) -> Sequence[PositionText]: ...


class SymbolRatioText(Protocol):
    """How much of one symbol is claimed."""

    symbol: str
    ratio_qty_request: str


class TermsText(Protocol):
    """A claim's terms."""

    liquidation_id: int
    liquidator_id: str
    ratio_qty_request: str
    extra_liquidation_ratio: str

    @property
    def symbols(self) -> Sequence[SymbolRatioText]: ...
    @property
    def limit_price(self) -> Mapping[str, str]: ...


@value
class SnapshotText:
    """A whole snapshot. `time` is (seconds, nanoseconds) since the Unix epoch, None if absent."""

    fields: LiquidationText
    account: MarginAccountText | None
    time: tuple[int, int] | None


@value
class LiquidatorText:
    """A liquidator; `account` is None if absent."""

    liquidator_id: str
    account: MarginAccountText | None


@value
class RequestText:
    """A whole request; what may be absent is None where it is."""

    terms: TermsText
    snapshot: SnapshotText | None
    liquidator: LiquidatorText | None


@value
class Sent:
    """What a caller sent, read or not.

    `request` is None where the bytes were no request at all; `violations` then says why.
    `as_record` gives what was sent for the log, bounded in size; it is asked for only where the
    request could not be read.
    """

    request: RequestText | None
    as_record: Callable[[], dict[str, Any]]
    violations: tuple[FieldViolation, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    explain: bool = False
