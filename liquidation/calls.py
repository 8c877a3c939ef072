"""Every RPC of the service, said once: how it is asked for, and how its answer is read.

The sync and the aio client are two ways to carry out what stands here.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

from liquidation.messages import message_of, value_of
from liquidation.refused import ClaimAnswer, claim_answer
from liquidation.v1 import liquidation_pb2, liquidation_service_pb2, rules_service_pb2
from liquidation.values import CheckedClaim, ClaimRequest, ErrorCode, Liquidation, PutResult, Rules

__all__ = [
    "BATCH_CHECK_CLAIMS",
    "BATCH_PUT_LIQUIDATIONS",
    "CHECK_CLAIM",
    "CLOSE_LIQUIDATION",
    "GET_LIQUIDATION",
    "GET_RULES",
    "LIST_ERROR_CODES",
    "LIST_LIQUIDATIONS",
    "PUT_LIQUIDATION",
    "STREAM_CHECK_CLAIMS",
    "Asked",
    "CheckRequest",
    "Rpc",
    "StreamedRequest",
]

# A request as a value, or as the message itself, which is sent as it is.
CheckRequest = ClaimRequest | rules_service_pb2.CheckClaimRequest
# A request of a stream: with a correlation id, or alone; then its id is its place, "1" the first.
StreamedRequest = CheckRequest | tuple[str, CheckRequest]

_P = ParamSpec("_P")
_R = TypeVar("_R")
Page = tuple[list[Liquidation], str]


@dataclass(frozen=True, slots=True)
class Rpc(Generic[_P, _R]):
    """An RPC: its path, the message it answers with, and how values become messages and back."""

    name: str
    response: type[Message]
    ask: Callable[_P, Message]
    answer: Callable[[Any], _R]

    @property
    def path(self) -> str:
        return f"/liquidation.v1.{self.name}"


def _checking(request: CheckRequest) -> rules_service_pb2.CheckClaimRequest:
    return message_of(rules_service_pb2.CheckClaimRequest, request)


def _putting(liquidation: Liquidation) -> liquidation_service_pb2.PutLiquidationRequest:
    message = message_of(liquidation_pb2.Liquidation, liquidation)
    return liquidation_service_pb2.PutLiquidationRequest(liquidation=message)


def _liquidation(response: Any) -> Liquidation:
    return value_of(Liquidation, response.liquidation)


CHECK_CLAIM: Final = Rpc(
    "LiquidationRulesService/CheckClaim",
    rules_service_pb2.CheckClaimResponse,
    _checking,
    lambda response: value_of(CheckedClaim, response),
)
BATCH_CHECK_CLAIMS: Final[Rpc[[Iterable[CheckRequest]], list[ClaimAnswer]]] = Rpc(
    "LiquidationRulesService/BatchCheckClaims",
    rules_service_pb2.BatchCheckClaimsResponse,
    lambda requests: rules_service_pb2.BatchCheckClaimsRequest(requests=map(_checking, requests)),
    lambda response: [claim_answer(each) for each in response.results],
)
STREAM_CHECK_CLAIMS: Final[Rpc[[str, CheckRequest], tuple[str, ClaimAnswer]]] = Rpc(
    "LiquidationRulesService/StreamCheckClaims",
    rules_service_pb2.StreamCheckClaimsResponse,
    lambda correlation_id, request: rules_service_pb2.StreamCheckClaimsRequest(
        correlation_id=correlation_id, request=_checking(request)
    ),
    lambda response: (response.correlation_id, claim_answer(response.result)),
)
LIST_ERROR_CODES: Final[Rpc[[], list[ErrorCode]]] = Rpc(
    "LiquidationRulesService/ListErrorCodes",
    rules_service_pb2.ListErrorCodesResponse,
    rules_service_pb2.ListErrorCodesRequest,
    lambda response: [value_of(ErrorCode, each) for each in response.error_codes],
)
GET_RULES: Final[Rpc[[], Rules]] = Rpc(
    "LiquidationRulesService/GetRules",
    rules_service_pb2.GetRulesResponse,
    rules_service_pb2.GetRulesRequest,
    lambda response: value_of(Rules, response),
)
PUT_LIQUIDATION: Final = Rpc(
    "LiquidationService/PutLiquidation",
    liquidation_service_pb2.PutLiquidationResponse,
    _putting,
    lambda response: value_of(PutResult, response),
)
BATCH_PUT_LIQUIDATIONS: Final[Rpc[[Iterable[Liquidation]], list[PutResult]]] = Rpc(
    "LiquidationService/BatchPutLiquidations",
    liquidation_service_pb2.BatchPutLiquidationsResponse,
    lambda liquidations: liquidation_service_pb2.BatchPutLiquidationsRequest(
        requests=map(_putting, liquidations)
    ),
    lambda response: [value_of(PutResult, each) for each in response.results],
)
GET_LIQUIDATION: Final[Rpc[[int], Liquidation]] = Rpc(
    "LiquidationService/GetLiquidation",
    liquidation_service_pb2.GetLiquidationResponse,
    lambda liquidation_id: liquidation_service_pb2.GetLiquidationRequest(
        liquidation_id=liquidation_id
    ),
    _liquidation,
)
LIST_LIQUIDATIONS: Final[Rpc[[str, int, str], Page]] = Rpc(
    "LiquidationService/ListLiquidations",
    liquidation_service_pb2.ListLiquidationsResponse,
    lambda account_id, page_size, page_token: liquidation_service_pb2.ListLiquidationsRequest(
        account_id=account_id, page_size=page_size, page_token=page_token
    ),
    lambda response: (
        [value_of(Liquidation, each) for each in response.liquidations],
        response.next_page_token,
    ),
)
CLOSE_LIQUIDATION: Final[Rpc[[int], Liquidation]] = Rpc(
    "LiquidationService/CloseLiquidation",
    liquidation_service_pb2.CloseLiquidationResponse,
    lambda liquidation_id: liquidation_service_pb2.CloseLiquidationRequest(
        liquidation_id=liquidation_id
    ),
    _liquidation,
)


class Asked:
    """The requests of a stream on their way out.

    gRPC would swallow an error of the caller's own iterable. Here it ends the requests, and is
    raised once what was asked before it is answered.
    """

    def __init__(self) -> None:
        self._count = 0
        self.error: Exception | None = None

    def message(self, item: StreamedRequest) -> Message:
        self._count += 1
        correlation_id, request = item if isinstance(item, tuple) else (str(self._count), item)
        return STREAM_CHECK_CLAIMS.ask(correlation_id, request)

    def messages(self, requests: Iterable[StreamedRequest]) -> Iterator[Message]:
        try:
            for each in requests:
                yield self.message(each)
        except Exception as error:  # noqa: BLE001 - raised again by `end`
            self.error = error

    async def messages_async(
        self, requests: Iterable[StreamedRequest] | AsyncIterable[StreamedRequest]
    ) -> AsyncIterator[Message]:
        try:
            if isinstance(requests, AsyncIterable):
                async for each in requests:
                    yield self.message(each)
            else:
                for each in requests:
                    yield self.message(each)
        except Exception as error:  # noqa: BLE001 - raised again by `end`
            self.error = error

    def end(self) -> None:
        if self.error is not None:
            raise self.error
