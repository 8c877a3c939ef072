import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from liquidation.v1 import errors_pb2 as _errors_pb2
from liquidation.v1 import liquidation_pb2 as _liquidation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuleMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_MODE_UNSPECIFIED: _ClassVar[RuleMode]
    RULE_MODE_ENFORCE: _ClassVar[RuleMode]
    RULE_MODE_SHADOW: _ClassVar[RuleMode]
    RULE_MODE_OFF: _ClassVar[RuleMode]
RULE_MODE_UNSPECIFIED: RuleMode
RULE_MODE_ENFORCE: RuleMode
RULE_MODE_SHADOW: RuleMode
RULE_MODE_OFF: RuleMode

class CheckClaimRequest(_message.Message):
    __slots__ = ("terms", "liquidation", "liquidator", "explain")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATOR_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    terms: _liquidation_pb2.ClaimTerms
    liquidation: _liquidation_pb2.Liquidation
    liquidator: _liquidation_pb2.Liquidator
    explain: bool
    def __init__(self, terms: _Optional[_Union[_liquidation_pb2.ClaimTerms, _Mapping]] = ..., liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ..., liquidator: _Optional[_Union[_liquidation_pb2.Liquidator, _Mapping]] = ..., explain: _Optional[bool] = ...) -> None: ...

class CheckClaimResponse(_message.Message):
    __slots__ = ("decision", "positions")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    decision: _liquidation_pb2.Decision
    positions: _containers.RepeatedCompositeFieldContainer[_liquidation_pb2.ClaimedPosition]
    def __init__(self, decision: _Optional[_Union[_liquidation_pb2.Decision, _Mapping]] = ..., positions: _Optional[_Iterable[_Union[_liquidation_pb2.ClaimedPosition, _Mapping]]] = ...) -> None: ...

class CheckClaimResult(_message.Message):
    __slots__ = ("accepted", "refused")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    accepted: CheckClaimResponse
    refused: _status_pb2.Status
    def __init__(self, accepted: _Optional[_Union[CheckClaimResponse, _Mapping]] = ..., refused: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class BatchCheckClaimsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CheckClaimRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[CheckClaimRequest, _Mapping]]] = ...) -> None: ...

class BatchCheckClaimsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CheckClaimResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CheckClaimResult, _Mapping]]] = ...) -> None: ...

class StreamCheckClaimsRequest(_message.Message):
    __slots__ = ("correlation_id", "request")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    request: CheckClaimRequest
    def __init__(self, correlation_id: _Optional[str] = ..., request: _Optional[_Union[CheckClaimRequest, _Mapping]] = ...) -> None: ...

class StreamCheckClaimsResponse(_message.Message):
    __slots__ = ("correlation_id", "result")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    result: CheckClaimResult
    def __init__(self, correlation_id: _Optional[str] = ..., result: _Optional[_Union[CheckClaimResult, _Mapping]] = ...) -> None: ...

class ListErrorCodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListErrorCodesResponse(_message.Message):
    __slots__ = ("error_codes",)
    ERROR_CODES_FIELD_NUMBER: _ClassVar[int]
    error_codes: _containers.RepeatedCompositeFieldContainer[_errors_pb2.ErrorCode]
    def __init__(self, error_codes: _Optional[_Iterable[_Union[_errors_pb2.ErrorCode, _Mapping]]] = ...) -> None: ...

class GetRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RuleInForce(_message.Message):
    __slots__ = ("rule", "mode")
    RULE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    mode: RuleMode
    def __init__(self, rule: _Optional[str] = ..., mode: _Optional[_Union[RuleMode, str]] = ...) -> None: ...

class TierRules(_message.Message):
    __slots__ = ("tier", "min_claim_notional")
    TIER_FIELD_NUMBER: _ClassVar[int]
    MIN_CLAIM_NOTIONAL_FIELD_NUMBER: _ClassVar[int]
    tier: _liquidation_pb2.Tier
    min_claim_notional: str
    def __init__(self, tier: _Optional[_Union[_liquidation_pb2.Tier, str]] = ..., min_claim_notional: _Optional[str] = ...) -> None: ...

class GetRulesResponse(_message.Message):
    __slots__ = ("version", "tiers", "rules", "default_lease_ttl", "claim_retention", "max_request_bytes", "max_concurrent_calls", "liquidator_requests_per_second")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    CLAIM_RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_CALLS_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATOR_REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    version: str
    tiers: _containers.RepeatedCompositeFieldContainer[TierRules]
    rules: _containers.RepeatedCompositeFieldContainer[RuleInForce]
    default_lease_ttl: _duration_pb2.Duration
    claim_retention: _duration_pb2.Duration
    max_request_bytes: int
    max_concurrent_calls: int
    liquidator_requests_per_second: int
    def __init__(self, version: _Optional[str] = ..., tiers: _Optional[_Iterable[_Union[TierRules, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[RuleInForce, _Mapping]]] = ..., default_lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., claim_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_request_bytes: _Optional[int] = ..., max_concurrent_calls: _Optional[int] = ..., liquidator_requests_per_second: _Optional[int] = ...) -> None: ...
