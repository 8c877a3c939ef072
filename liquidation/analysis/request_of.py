"""What a line was decided from, read back from its `request`, so that it can be decided again.

`request` is protobuf JSON, of a request that was read and of one that was not well formed alike,
so one reading does for both: to the texts of a request, and on with `rules.intake`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from liquidation.rules.evaluate import assemble
from liquidation.rules.intake import Intake, read_request
from liquidation.rules.leases import request_violations
from liquidation.rules.model import ActiveClaim, RuleInput, StoredState
from liquidation.rules.policy import RULE_NAMES, Policy
from liquidation.rules.record import liquidation_from_record
from liquidation.rules.texts import LiquidatorText, RequestText, SnapshotText

__all__ = ["Inputs", "NotReplayableError", "decision_inputs"]

_TIERS: Final = {"TIER_UNSPECIFIED": 0, "TIER_LOW": 1, "TIER_HIGH": 2}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotReplayableError(ValueError):
    """A line that cannot be decided again; the text says why."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a verdict was made from, but for the rules. `state` is None: not asked for."""

    intake: Intake
    state: StoredState | None
    unknown_fields: tuple[str, ...] = ()

    def case(self, policy: Policy) -> RuleInput:
        """The case for `rules.evaluate.decide` under these rules."""
        return assemble(policy, self.intake, self.state, self.unknown_fields)


def decision_inputs(fields: Mapping[str, Any]) -> Inputs:
    """What the decision of a `decision` line, or of the `claim` line of a begin, was made from.

    Raises:
        NotReplayableError: it is no such line, the rules had no part in it, or its request is not
            there in full.
    """
    _require_decision(fields)
    request = fields.get("request")
    if not isinstance(request, dict):
        raise NotReplayableError("the line has no request")
    if "head_base64" in request:
        size = request.get("bytes")
        raise NotReplayableError(f"only the first bytes of the request are logged, of {size}")
    try:
        return _inputs(fields, request)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation) as error:
        problem = f"{type(error).__name__}: {error}"
        raise NotReplayableError(f"its request is not one of the service's: {problem}") from error


def _require_decision(fields: Mapping[str, Any]) -> None:
    event, change = fields.get("event"), fields.get("change")
    if event != "decision" and (event, change) != ("claim", "begin"):
        raise NotReplayableError("the line is not that of a decision")
    if fields.get("known") is True:
        raise NotReplayableError("the request was answered before; that line has the decision")
    rule = fields.get("rule")
    if rule == "well_formed" and "masked" in fields:
        raise NotReplayableError("ids are masked, and what was wrong may have been one of them")
    if fields.get("outcome") == "refused" and rule not in RULE_NAMES:
        who = f"{rule} is no rule on what is asked" if rule else "no rule refused it"
        raise NotReplayableError(f"the rules did not decide it: {who}, code {fields.get('code')}")


def _inputs(fields: Mapping[str, Any], request: Mapping[str, Any]) -> Inputs:
    intake = read_request(_request_text(request))
    if fields["event"] == "claim":
        lease = _lease(request.get("lease_ttl"))
        own = request_violations(fields["request_id"], lease)
        if own:
            intake = Intake(violations=(*own, *intake.violations))
    unknown = tuple(_text(path) for path in request.get("unknown_fields", ()))
    state = request.get("state")
    return Inputs(intake, None if state is None else _standing(state), unknown)


def _standing(state: Mapping[str, Any]) -> StoredState:
    stored, active = state.get("liquidation"), state.get("active_claim")
    completed = state.get("last_completed_revision")
    claim = None
    if active is not None:
        claim = ActiveClaim(_text(active["claim_id"]), Decimal(active["lease_left_s"]))
    return StoredState(
        liquidation=None if stored is None else liquidation_from_record(stored),
        closed=bool(state["closed"]),
        liquidator_in_liquidation=bool(state["liquidator_in_liquidation"]),
        active_claim=claim,
        last_completed_revision=None if completed is None else int(completed),
    )


@dataclass(slots=True)
class _Position:
    symbol: str
    position_qty: str
    mark_price: str


@dataclass(slots=True)
class _MarginPosition(_Position):
    base_mmr: str
    base_imr: str
    imr_factor: str


@dataclass(slots=True)
class _Account:
    collateral_value: str
    max_leverage: str
    positions: Sequence[_MarginPosition]


@dataclass(slots=True)
class _Snapshot:
    liquidation_id: int
    account_id: str
    margin_ratio: str
    maintenance_margin_ratio: str
    revision: int
    tier: int
    positions: Sequence[_Position]


@dataclass(slots=True)
class _SymbolRatio:
    symbol: str
    ratio_qty_request: str


@dataclass(slots=True)
class _Terms:
    liquidation_id: int = 0
    liquidator_id: str = ""
    ratio_qty_request: str = ""
    extra_liquidation_ratio: str = ""
    symbols: Sequence[_SymbolRatio] = ()
    limit_price: Mapping[str, str] = field(default_factory=dict)


def _request_text(request: Mapping[str, Any]) -> RequestText:
    liquidation, liquidator = request.get("liquidation"), request.get("liquidator")
    return RequestText(
        _terms(request.get("terms", {})),
        None if liquidation is None else _snapshot(liquidation),
        None if liquidator is None else _liquidator(liquidator),
    )


def _terms(record: Mapping[str, Any]) -> _Terms:
    return _Terms(
        int(record.get("liquidation_id", 0)),
        _at(record, "liquidator_id"),
        _at(record, "ratio_qty_request"),
        _at(record, "extra_liquidation_ratio"),
        [
            _SymbolRatio(_at(each, "symbol"), _at(each, "ratio_qty_request"))
            for each in record.get("symbols", ())
        ],
        {symbol: _text(price) for symbol, price in record.get("limit_price", {}).items()},
    )


def _snapshot(record: Mapping[str, Any]) -> SnapshotText:
    tier = record.get("tier", 0)
    fields = _Snapshot(
        int(record.get("liquidation_id", 0)),
        _at(record, "account_id"),
        _at(record, "margin_ratio"),
        _at(record, "maintenance_margin_ratio"),
        int(record.get("revision", 0)),
        # A number is a tier that the API does not know.
        tier if isinstance(tier, int) else _TIERS[tier],
        [_Position(*_position(each)) for each in record.get("positions", ())],
    )
    account, time = record.get("account"), record.get("snapshot_time")
    return SnapshotText(
        fields,
        None if account is None else _account(account),
        None if time is None else _time(time),
    )


def _liquidator(record: Mapping[str, Any]) -> LiquidatorText:
    account = record.get("account")
    return LiquidatorText(
        _at(record, "liquidator_id"), None if account is None else _account(account)
    )


def _account(record: Mapping[str, Any]) -> _Account:
    return _Account(
        _at(record, "collateral_value"),
        _at(record, "max_leverage"),
        [
            _MarginPosition(
                *_position(each),
                _at(each, "base_mmr"),
                _at(each, "base_imr"),
                _at(each, "imr_factor"),
            )
            for each in record.get("positions", ())
        ],
    )


def _position(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return _at(record, "symbol"), _at(record, "position_qty"), _at(record, "mark_price")


def _at(record: Mapping[str, Any], key: str) -> str:
    """A text; what protobuf JSON leaves out is ""."""
    return _text(record.get(key, ""))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value


def _time(text: str) -> tuple[int, int]:
    """Seconds and nanoseconds since the epoch; a datetime alone would keep microseconds."""
    moment, _, decimals = text.removesuffix("Z").partition(".")
    since = datetime.fromisoformat(moment).replace(tzinfo=UTC) - _EPOCH
    return since.days * 86400 + since.seconds, int((decimals or "0").ljust(9, "0"))


def _lease(text: str | None) -> tuple[int, int] | None:
    """Seconds and nanoseconds of a span such as "1.500s"; both have its sign."""
    if text is None:
        return None
    sign = -1 if text.startswith("-") else 1
    seconds, _, decimals = text.removeprefix("-").removesuffix("s").partition(".")
    return sign * int(seconds), sign * int((decimals or "0").ljust(9, "0"))
