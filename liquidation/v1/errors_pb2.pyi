from liquidation.v1 import liquidation_pb2 as _liquidation_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LiquidationError(_message.Message):
    __slots__ = ("code", "name", "message", "http_status", "decision")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    code: int
    name: str
    message: str
    http_status: int
    decision: _liquidation_pb2.Decision
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ..., message: _Optional[str] = ..., http_status: _Optional[int] = ..., decision: _Optional[_Union[_liquidation_pb2.Decision, _Mapping]] = ...) -> None: ...

class ErrorCode(_message.Message):
    __slots__ = ("code", "http_status", "name", "message", "grpc_code", "emitted")
    CODE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    EMITTED_FIELD_NUMBER: _ClassVar[int]
    code: int
    http_status: int
    name: str
    message: str
    grpc_code: str
    emitted: bool
    def __init__(self, code: _Optional[int] = ..., http_status: _Optional[int] = ..., name: _Optional[str] = ..., message: _Optional[str] = ..., grpc_code: _Optional[str] = ..., emitted: _Optional[bool] = ...) -> None: ...
