from google.api import annotations_pb2 as _annotations_pb2
from liquidation.v1 import liquidation_pb2 as _liquidation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PutLiquidationRequest(_message.Message):
    __slots__ = ("liquidation",)
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    liquidation: _liquidation_pb2.Liquidation
    def __init__(self, liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ...) -> None: ...

class PutLiquidationResponse(_message.Message):
    __slots__ = ("liquidation", "applied", "closed")
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    liquidation: _liquidation_pb2.Liquidation
    applied: bool
    closed: bool
    def __init__(self, liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ..., applied: _Optional[bool] = ..., closed: _Optional[bool] = ...) -> None: ...

class BatchPutLiquidationsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[PutLiquidationRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[PutLiquidationRequest, _Mapping]]] = ...) -> None: ...

class BatchPutLiquidationsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PutLiquidationResponse]
    def __init__(self, results: _Optional[_Iterable[_Union[PutLiquidationResponse, _Mapping]]] = ...) -> None: ...

class GetLiquidationRequest(_message.Message):
    __slots__ = ("liquidation_id",)
    LIQUIDATION_ID_FIELD_NUMBER: _ClassVar[int]
    liquidation_id: int
    def __init__(self, liquidation_id: _Optional[int] = ...) -> None: ...

class GetLiquidationResponse(_message.Message):
    __slots__ = ("liquidation",)
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    liquidation: _liquidation_pb2.Liquidation
    def __init__(self, liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ...) -> None: ...

class ListLiquidationsRequest(_message.Message):
    __slots__ = ("account_id", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLiquidationsResponse(_message.Message):
    __slots__ = ("liquidations", "next_page_token")
    LIQUIDATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    liquidations: _containers.RepeatedCompositeFieldContainer[_liquidation_pb2.Liquidation]
    next_page_token: str
    def __init__(self, liquidations: _Optional[_Iterable[_Union[_liquidation_pb2.Liquidation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CloseLiquidationRequest(_message.Message):
    __slots__ = ("liquidation_id",)
    LIQUIDATION_ID_FIELD_NUMBER: _ClassVar[int]
    liquidation_id: int
    def __init__(self, liquidation_id: _Optional[int] = ...) -> None: ...

class CloseLiquidationResponse(_message.Message):
    __slots__ = ("liquidation",)
    LIQUIDATION_FIELD_NUMBER: _ClassVar[int]
    liquidation: _liquidation_pb2.Liquidation
    def __init__(self, liquidation: _Optional[_Union[_liquidation_pb2.Liquidation, _Mapping]] = ...) -> None: ...
