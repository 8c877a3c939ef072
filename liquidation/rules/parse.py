"""Parsing a request: a message's texts to exact values, or the list of what is wrong with them.

A request is parsed once. What `well_formed` refuses is found here, field by field; nothing that is
parsed stands for a value that was not there. The messages of the API are read by their field names.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from liquidation.rules.margin import margin_ratios
from liquidation.rules.model import (
    ClaimRequest,
    FieldViolation,
    Liquidation,
    Liquidator,
    MarginAccount,
    MarginPosition,
    Position,
    SymbolRatio,
    Terms,
    Tier,
)
from liquidation.rules.numbers import ZERO, Ratio, parse_decimal
from liquidation.rules.policy import MAX_POSITIONS

if TYPE_CHECKING:
    from liquidation.v1 import claim_service_pb2, liquidation_pb2, rules_service_pb2

    _RequestMessage = rules_service_pb2.CheckClaimRequest | claim_service_pb2.BeginClaimRequest

# Characters of an id; inclusive.
MAX_ID: Final = 128
# More violations than these are not told: the reply has to stay small.
_MAX_TOLD: Final = 8
# 0001-01-01 to 9999-12-31, the range of google.protobuf.Timestamp; inclusive.
_TIME_RANGE: Final = range(-62_135_596_800, 253_402_300_800)
_NANOSECONDS: Final = 1_000_000_000

_TIERS: Final = {tier.value: tier for tier in Tier}


class FieldViolations:
    """Collects what is wrong with a request: all are counted, the first few are told.

    A field may be given in parts, such as "terms" and "liquidator_id": they are joined only where
    there is a violation to tell, so that a sound request does not pay for paths (2 µs of ten
    positions).
    """

    __slots__ = ("count", "found")

    def __init__(self) -> None:
        self.count = 0
        self.found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Notes a violation of `field`, a path such as `terms.symbols[2].symbol`."""
        self.count += 1
        if self.count <= _MAX_TOLD:
            self.found.append(FieldViolation(field, description))

    def decimal(self, text: str, *path: str) -> Decimal:
        """The number that `text` stands for; 0 and a violation where it is none."""
        number = parse_decimal(text)
        if number is None:
            problem = "up to 18 digits on each side of the point, such as 12.5"
            self.add(".".join(path), f"must be a decimal of {problem}" if text else "is required")
            return ZERO
        return number

    def positive(self, text: str, *path: str) -> Decimal:
        """As `decimal`, and a violation where the number is not above zero."""
        known = self.count
        number = self.decimal(text, *path)
        if number <= ZERO and self.count == known:
            self.add(".".join(path), "must be above zero")
        return number

    def identifier(self, text: str, *path: str, longest: int = MAX_ID) -> str:
        """`text`, and a violation where it is not 1 to `longest` printable ASCII characters."""
        if not (0 < len(text) <= longest and text.isascii() and text.isprintable()):
            self.add(".".join(path), f"must be 1 to {longest} printable ASCII characters")
        return text

    def unique(self, symbols: Sequence[str], field: str) -> None:
        """A violation where a symbol stands twice."""
        if len(set(symbols)) != len(symbols):
            self.add(field, "names a symbol twice")

    def at_most(self, size: int, field: str) -> bool:
        """Whether `size` entries are few enough, and a violation where they are not."""
        if size > MAX_POSITIONS:
            self.add(field, f"must have at most {MAX_POSITIONS} entries")
            return False
        return True


def parse_request(
    message: "_RequestMessage",
    unknown_fields: tuple[str, ...] = (),
    further: tuple[FieldViolation, ...] = (),
    *,
    explain: bool = False,
) -> ClaimRequest:
    """The request in `message`, or its violations.

    `further` are violations that were found before, in fields that a CheckClaim has not.
    """
    violations = FieldViolations()
    sent_terms = message.terms
    terms = _terms(sent_terms, violations)
    snapshot = liquidator = None
    if message.HasField("liquidation"):
        snapshot = _snapshot(message.liquidation, "liquidation", violations)
        if message.liquidation.liquidation_id != sent_terms.liquidation_id:
            violations.add("terms.liquidation_id", "must be that of the liquidation in the request")
    if message.HasField("liquidator"):
        liquidator = _liquidator(message.liquidator, sent_terms.liquidator_id, violations)
    if violations.count or further:
        found = (*further, *violations.found)
        return ClaimRequest(violations=found, unknown_fields=unknown_fields, explain=explain)
    return ClaimRequest(terms, snapshot, liquidator, (), unknown_fields, explain)


def parse_liquidation(
    message: "liquidation_pb2.Liquidation", path: str
) -> Liquidation | tuple[FieldViolation, ...]:
    """The snapshot in `message`, or its violations, with fields below `path`."""
    violations = FieldViolations()
    snapshot = _snapshot(message, path, violations)
    return tuple(violations.found) if snapshot is None else snapshot


def _terms(text: "liquidation_pb2.ClaimTerms", violations: FieldViolations) -> Terms:
    liquidation_id = text.liquidation_id
    if liquidation_id <= 0:
        violations.add("terms.liquidation_id", "must be above zero")
    liquidator_id = violations.identifier(text.liquidator_id, "terms.liquidator_id")
    ratio: Decimal | None = None
    symbols: tuple[SymbolRatio, ...] = ()
    if text.symbols:
        symbols = _symbols(text, violations)
    else:
        ratio = violations.decimal(text.ratio_qty_request, "terms.ratio_qty_request")
    extra = ZERO
    if text.extra_liquidation_ratio:
        extra = violations.decimal(text.extra_liquidation_ratio, "terms.extra_liquidation_ratio")
    limits: dict[str, Decimal] = {}
    if text.limit_price and violations.at_most(len(text.limit_price), "terms.limit_price"):
        for symbol, price in text.limit_price.items():
            violations.identifier(symbol, "terms.limit_price")
            # The key is the caller's own text, so it is not made part of the path.
            limits[symbol] = violations.decimal(price, "terms.limit_price")
    return Terms(liquidation_id, liquidator_id, ratio, extra, symbols, limits)


def _symbols(
    text: "liquidation_pb2.ClaimTerms", violations: FieldViolations
) -> tuple[SymbolRatio, ...]:
    path = "terms.symbols"
    if text.ratio_qty_request:
        violations.add("terms.ratio_qty_request", "must not stand beside symbols")
    if not violations.at_most(len(text.symbols), path):
        return ()
    symbols = tuple(
        SymbolRatio(
            violations.identifier(named.symbol, f"{path}[{index}]", "symbol"),
            violations.decimal(named.ratio_qty_request, f"{path}[{index}]", "ratio_qty_request"),
        )
        for index, named in enumerate(text.symbols)
    )
    violations.unique([named.symbol for named in symbols], path)
    return symbols


def _snapshot(
    sent: "liquidation_pb2.Liquidation", path: str, violations: FieldViolations
) -> Liquidation | None:
    known = violations.count
    if sent.liquidation_id <= 0:
        violations.add(f"{path}.liquidation_id", "must be above zero")
    violations.identifier(sent.account_id, path, "account_id")
    tier = _TIERS.get(sent.tier)
    if tier is None:
        violations.add(f"{path}.tier", "must be TIER_LOW or TIER_HIGH")
    if sent.revision < 1:
        violations.add(f"{path}.revision", "must be 1 or more")
    positions = _positions(sent.positions, path, violations)
    time_ns = _time(sent, path, violations)
    account = None
    if sent.HasField("account"):
        account = _account(sent.account, f"{path}.account", violations, of_liquidator=False)
    sound = violations.count == known
    margin_ratio, maintenance = _margin(sent, account, path, violations, sound=sound)
    if violations.count > known or tier is None:
        return None
    return Liquidation(
        sent.liquidation_id,
        sent.account_id,
        tier,
        positions,
        margin_ratio,
        maintenance,
        sent.revision,
        time_ns,
        account,
    )


def _margin(
    sent: "liquidation_pb2.Liquidation",
    account: MarginAccount | None,
    path: str,
    violations: FieldViolations,
    *,
    sound: bool,
) -> tuple[Ratio, Ratio]:
    if account is None:
        return (
            violations.decimal(sent.margin_ratio, path, "margin_ratio"),
            violations.positive(sent.maintenance_margin_ratio, path, "maintenance_margin_ratio"),
        )
    for name in ("margin_ratio", "maintenance_margin_ratio"):
        if getattr(sent, name):
            violations.add(f"{path}.{name}", "must not stand beside account")
    if not any(position.position_qty for position in account.positions):
        violations.add(f"{path}.account.positions", "must have a position that is not zero")
        return ZERO, ZERO
    return margin_ratios(account) if sound else (ZERO, ZERO)


def _positions(
    sent: "Sequence[liquidation_pb2.Position]", above: str, violations: FieldViolations
) -> tuple[Position, ...]:
    path = f"{above}.positions"
    if not sent:
        violations.add(path, "must have at least one entry")
    if not violations.at_most(len(sent), path):
        return ()
    positions = tuple(
        [_position(each, f"{path}[{index}]", violations) for index, each in enumerate(sent)]
    )
    violations.unique([position.symbol for position in positions], path)
    return positions


def _position(sent: "liquidation_pb2.Position", path: str, violations: FieldViolations) -> Position:
    known = violations.count
    quantity = violations.decimal(sent.position_qty, path, "position_qty")
    if not quantity and violations.count == known:
        violations.add(f"{path}.position_qty", "must not be zero")
    return Position(
        violations.identifier(sent.symbol, path, "symbol"),
        quantity,
        violations.positive(sent.mark_price, path, "mark_price"),
    )


def _time(
    sent: "liquidation_pb2.Liquidation", path: str, violations: FieldViolations
) -> int | None:
    if not sent.HasField("snapshot_time"):
        return None
    seconds, nanoseconds = sent.snapshot_time.seconds, sent.snapshot_time.nanos
    if seconds not in _TIME_RANGE or not 0 <= nanoseconds < _NANOSECONDS:
        violations.add(f"{path}.snapshot_time", "must be a time of the years 1 to 9999")
    return seconds * _NANOSECONDS + nanoseconds


def _liquidator(
    sent: "liquidation_pb2.Liquidator", claimant: str, violations: FieldViolations
) -> Liquidator | None:
    violations.identifier(sent.liquidator_id, "liquidator.liquidator_id")
    if sent.liquidator_id != claimant:
        violations.add("liquidator.liquidator_id", "must be that of the terms")
    if not sent.HasField("account"):
        violations.add("liquidator.account", "is required")
        return None
    account = _account(sent.account, "liquidator.account", violations, of_liquidator=True)
    return Liquidator(sent.liquidator_id, account)


def _account(
    text: "liquidation_pb2.MarginAccount",
    path: str,
    violations: FieldViolations,
    *,
    of_liquidator: bool,
) -> MarginAccount:
    """A margin account. A liquidator's needs max_leverage, a liquidated one's every base_mmr."""
    leverage = None
    if text.max_leverage or of_liquidator:
        leverage = violations.positive(text.max_leverage, path, "max_leverage")
    collateral = violations.decimal(text.collateral_value, path, "collateral_value")
    if not violations.at_most(len(text.positions), f"{path}.positions"):
        return MarginAccount(collateral, (), leverage)
    positions = tuple(
        _margin_position(
            position, f"{path}.positions[{index}]", violations, of_liquidator=of_liquidator
        )
        for index, position in enumerate(text.positions)
    )
    violations.unique([position.symbol for position in positions], f"{path}.positions")
    return MarginAccount(collateral, positions, leverage)


def _margin_position(
    text: "liquidation_pb2.MarginPosition",
    path: str,
    violations: FieldViolations,
    *,
    of_liquidator: bool,
) -> MarginPosition:
    base_mmr = None
    if text.base_mmr or not of_liquidator:
        base_mmr = violations.positive(text.base_mmr, path, "base_mmr")
    factor = violations.decimal(text.imr_factor, path, "imr_factor")
    if factor < ZERO:
        violations.add(f"{path}.imr_factor", "must be zero or more")
    return MarginPosition(
        violations.identifier(text.symbol, path, "symbol"),
        violations.decimal(text.position_qty, path, "position_qty"),
        violations.positive(text.mark_price, path, "mark_price"),
        base_mmr,
        violations.positive(text.base_imr, path, "base_imr"),
        factor,
    )
