import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from liquidation.v1 import liquidation_pb2 as _liquidation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClaimState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLAIM_STATE_UNSPECIFIED: _ClassVar[ClaimState]
    CLAIM_STATE_ACTIVE: _ClassVar[ClaimState]
    CLAIM_STATE_COMPLETED: _ClassVar[ClaimState]
    CLAIM_STATE_CANCELLED: _ClassVar[ClaimState]
    CLAIM_STATE_EXPIRED: _ClassVar[ClaimState]
CLAIM_STATE_UNSPECIFIED: ClaimState
CLAIM_STATE_ACTIVE: ClaimState
CLAIM_STATE_COMPLETED: ClaimState
CLAIM_STATE_CANCELLED: ClaimState
CLAIM_STATE_EXPIRED: ClaimState

class Claim(_message.Message):
    __slots__ = ("claim_id", "request_id", "account_id", "terms", "liquidation_revision", "fencing_token", "state", "positions", "begin_time", "expire_time", "end_time", "end_reason")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATION_REVISION_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    request_id: str
    account_id: str
    terms: _liquidation_pb2.ClaimTerms
    liquidation_revision: int
    fencing_token: int
    state: ClaimState
    positions: _containers.RepeatedCompositeFieldContainer[_liquidation_pb2.ClaimedPosition]
    begin_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    end_reason: str
    def __init__(self, claim_id: _Optional[str] = ..., request_id: _Optional[str] = ..., account_id: _Optional[str] = ..., terms: _Optional[_Union[_liquidation_pb2.ClaimTerms, _Mapping]] = ..., liquidation_revision: _Optional[int] = ..., fencing_token: _Optional[int] = ..., state: _Optional[_Union[ClaimState, str]] = ..., positions: _Optional[_Iterable[_Union[_liquidation_pb2.ClaimedPosition, _Mapping]]] = ..., begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_reason: _Optional[str] = ...) -> None: ...

class BeginClaimRequest(_message.Message):
    __slots__ = ("request_id", "terms", "liquidation", "liquidator", "lease_ttl")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATOR_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    terms: _liquidation_pb2.ClaimTerms
    liquidation: _liquidation_pb2.Liquidation
    liquidator: _liquidation_pb2.Liquidator
    lease_ttl: _duration_pb2.Duration
    def __init__(self, request_id: _Optional[str] = ..., terms: _Optional[_Union[_liquidation_pb2.ClaimTerms, _Mapping]] = ..., liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ..., liquidator: _Optional[_Union[_liquidation_pb2.Liquidator, _Mapping]] = ..., lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BeginClaimResponse(_message.Message):
    __slots__ = ("claim", "decision")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    decision: _liquidation_pb2.Decision
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ..., decision: _Optional[_Union[_liquidation_pb2.Decision, _Mapping]] = ...) -> None: ...

class RenewClaimRequest(_message.Message):
    __slots__ = ("claim_id", "fencing_token", "lease_ttl")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    fencing_token: int
    lease_ttl: _duration_pb2.Duration
    def __init__(self, claim_id: _Optional[str] = ..., fencing_token: _Optional[int] = ..., lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewClaimResponse(_message.Message):
    __slots__ = ("claim",)
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ...) -> None: ...

class CompleteClaimRequest(_message.Message):
    __slots__ = ("claim_id", "fencing_token")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    fencing_token: int
    def __init__(self, claim_id: _Optional[str] = ..., fencing_token: _Optional[int] = ...) -> None: ...

class CompleteClaimResponse(_message.Message):
    __slots__ = ("claim",)
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ...) -> None: ...

class CancelClaimRequest(_message.Message):
    __slots__ = ("claim_id", "fencing_token", "reason", "force")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    fencing_token: int
    reason: str
    force: bool
    def __init__(self, claim_id: _Optional[str] = ..., fencing_token: _Optional[int] = ..., reason: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class CancelClaimResponse(_message.Message):
    __slots__ = ("claim",)
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ...) -> None: ...

class GetClaimRequest(_message.Message):
    __slots__ = ("claim_id", "request_id")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    request_id: str
    def __init__(self, claim_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ClaimEvent(_message.Message):
    __slots__ = ("change", "time", "expire_time", "reason", "forced")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    change: str
    time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    reason: str
    forced: bool
    def __init__(self, change: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., forced: _Optional[bool] = ...) -> None: ...

class GetClaimResponse(_message.Message):
    __slots__ = ("claim", "history")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    history: _containers.RepeatedCompositeFieldContainer[ClaimEvent]
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ..., history: _Optional[_Iterable[_Union[ClaimEvent, _Mapping]]] = ...) -> None: ...

class ListClaimsRequest(_message.Message):
    __slots__ = ("account_id", "liquidation_id", "state", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    LIQUIDATION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    liquidation_id: int
    state: ClaimState
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., liquidation_id: _Optional[int] = ..., state: _Optional[_Union[ClaimState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListClaimsResponse(_message.Message):
    __slots__ = ("claims", "next_page_token")
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    claims: _containers.RepeatedCompositeFieldContainer[Claim]
    next_page_token: str
    def __init__(self, claims: _Optional[_Iterable[_Union[Claim, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
