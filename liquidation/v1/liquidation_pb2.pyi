import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_LOW: _ClassVar[Tier]
    TIER_HIGH: _ClassVar[Tier]

class RuleOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_OUTCOME_UNSPECIFIED: _ClassVar[RuleOutcome]
    RULE_OUTCOME_PASSED: _ClassVar[RuleOutcome]
    RULE_OUTCOME_REFUSED: _ClassVar[RuleOutcome]
    RULE_OUTCOME_SKIPPED: _ClassVar[RuleOutcome]
    RULE_OUTCOME_SHADOW_REFUSED: _ClassVar[RuleOutcome]
TIER_UNSPECIFIED: Tier
TIER_LOW: Tier
TIER_HIGH: Tier
RULE_OUTCOME_UNSPECIFIED: RuleOutcome
RULE_OUTCOME_PASSED: RuleOutcome
RULE_OUTCOME_REFUSED: RuleOutcome
RULE_OUTCOME_SKIPPED: RuleOutcome
RULE_OUTCOME_SHADOW_REFUSED: RuleOutcome

class Position(_message.Message):
    __slots__ = ("symbol", "position_qty", "mark_price")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    POSITION_QTY_FIELD_NUMBER: _ClassVar[int]
    MARK_PRICE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    position_qty: str
    mark_price: str
    def __init__(self, symbol: _Optional[str] = ..., position_qty: _Optional[str] = ..., mark_price: _Optional[str] = ...) -> None: ...

class MarginPosition(_message.Message):
    __slots__ = ("symbol", "position_qty", "mark_price", "base_mmr", "base_imr", "imr_factor")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    POSITION_QTY_FIELD_NUMBER: _ClassVar[int]
    MARK_PRICE_FIELD_NUMBER: _ClassVar[int]
    BASE_MMR_FIELD_NUMBER: _ClassVar[int]
    BASE_IMR_FIELD_NUMBER: _ClassVar[int]
    IMR_FACTOR_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    position_qty: str
    mark_price: str
    base_mmr: str
    base_imr: str
    imr_factor: str
    def __init__(self, symbol: _Optional[str] = ..., position_qty: _Optional[str] = ..., mark_price: _Optional[str] = ..., base_mmr: _Optional[str] = ..., base_imr: _Optional[str] = ..., imr_factor: _Optional[str] = ...) -> None: ...

class MarginAccount(_message.Message):
    __slots__ = ("collateral_value", "positions", "max_leverage")
    COLLATERAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_LEVERAGE_FIELD_NUMBER: _ClassVar[int]
    collateral_value: str
    positions: _containers.RepeatedCompositeFieldContainer[MarginPosition]
    max_leverage: str
    def __init__(self, collateral_value: _Optional[str] = ..., positions: _Optional[_Iterable[_Union[MarginPosition, _Mapping]]] = ..., max_leverage: _Optional[str] = ...) -> None: ...

class Liquidation(_message.Message):
    __slots__ = ("liquidation_id", "account_id", "tier", "positions", "margin_ratio", "maintenance_margin_ratio", "revision", "snapshot_time", "account")
    LIQUIDATION_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    MARGIN_RATIO_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_MARGIN_RATIO_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    liquidation_id: int
    account_id: str
    tier: Tier
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    margin_ratio: str
    maintenance_margin_ratio: str
    revision: int
    snapshot_time: _timestamp_pb2.Timestamp
    account: MarginAccount
    def __init__(self, liquidation_id: _Optional[int] = ..., account_id: _Optional[str] = ..., tier: _Optional[_Union[Tier, str]] = ..., positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., margin_ratio: _Optional[str] = ..., maintenance_margin_ratio: _Optional[str] = ..., revision: _Optional[int] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[MarginAccount, _Mapping]] = ...) -> None: ...

class Liquidator(_message.Message):
    __slots__ = ("liquidator_id", "account")
    LIQUIDATOR_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    liquidator_id: str
    account: MarginAccount
    def __init__(self, liquidator_id: _Optional[str] = ..., account: _Optional[_Union[MarginAccount, _Mapping]] = ...) -> None: ...

class SymbolRatio(_message.Message):
    __slots__ = ("symbol", "ratio_qty_request")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    RATIO_QTY_REQUEST_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    ratio_qty_request: str
    def __init__(self, symbol: _Optional[str] = ..., ratio_qty_request: _Optional[str] = ...) -> None: ...

class ClaimTerms(_message.Message):
    __slots__ = ("liquidation_id", "liquidator_id", "ratio_qty_request", "extra_liquidation_ratio", "symbols", "limit_price")
    class LimitPriceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LIQUIDATION_ID_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATOR_ID_FIELD_NUMBER: _ClassVar[int]
    RATIO_QTY_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EXTRA_LIQUIDATION_RATIO_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    liquidation_id: int
    liquidator_id: str
    ratio_qty_request: str
    extra_liquidation_ratio: str
    symbols: _containers.RepeatedCompositeFieldContainer[SymbolRatio]
    limit_price: _containers.ScalarMap[str, str]
    def __init__(self, liquidation_id: _Optional[int] = ..., liquidator_id: _Optional[str] = ..., ratio_qty_request: _Optional[str] = ..., extra_liquidation_ratio: _Optional[str] = ..., symbols: _Optional[_Iterable[_Union[SymbolRatio, _Mapping]]] = ..., limit_price: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ClaimedPosition(_message.Message):
    __slots__ = ("symbol", "qty", "max_qty", "notional")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    QTY_FIELD_NUMBER: _ClassVar[int]
    MAX_QTY_FIELD_NUMBER: _ClassVar[int]
    NOTIONAL_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    qty: str
    max_qty: str
    notional: str
    def __init__(self, symbol: _Optional[str] = ..., qty: _Optional[str] = ..., max_qty: _Optional[str] = ..., notional: _Optional[str] = ...) -> None: ...

class RuleResult(_message.Message):
    __slots__ = ("rule", "outcome", "code", "message", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RULE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    rule: str
    outcome: RuleOutcome
    code: int
    message: str
    facts: _containers.ScalarMap[str, str]
    def __init__(self, rule: _Optional[str] = ..., outcome: _Optional[_Union[RuleOutcome, str]] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("decision_id", "accepted", "rule", "total_notional", "least_req_ratio", "margin_ratio", "maintenance_margin_ratio", "liquidation_revision", "rules_version", "trace")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NOTIONAL_FIELD_NUMBER: _ClassVar[int]
    LEAST_REQ_RATIO_FIELD_NUMBER: _ClassVar[int]
    MARGIN_RATIO_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_MARGIN_RATIO_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATION_REVISION_FIELD_NUMBER: _ClassVar[int]
    RULES_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    accepted: bool
    rule: str
    total_notional: str
    least_req_ratio: str
    margin_ratio: str
    maintenance_margin_ratio: str
    liquidation_revision: int
    rules_version: str
    trace: _containers.RepeatedCompositeFieldContainer[RuleResult]
    def __init__(self, decision_id: _Optional[str] = ..., accepted: _Optional[bool] = ..., rule: _Optional[str] = ..., total_notional: _Optional[str] = ..., least_req_ratio: _Optional[str] = ..., margin_ratio: _Optional[str] = ..., maintenance_margin_ratio: _Optional[str] = ..., liquidation_revision: _Optional[int] = ..., rules_version: _Optional[str] = ..., trace: _Optional[_Iterable[_Union[RuleResult, _Mapping]]] = ...) -> None: ...
