"""Every RPC of the service: how it is asked for, how its answer is read, and what goes with it.

The sync and the aio client are two ways to carry out what stands here.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

from liquidation.client.convert import message_of, value_of
from liquidation.client.refused import ClaimAnswer, claim_answer
from liquidation.v1 import (
    claim_service_pb2,
    liquidation_pb2,
    liquidation_service_pb2,
    rules_service_pb2,
)
from liquidation.values import (
    CheckedClaim,
    Claim,
    ClaimRecord,
    ClaimRequest,
    ClaimState,
    ClaimTerms,
    ErrorCode,
    GrantedClaim,
    Liquidation,
    Liquidator,
    PutResult,
    Rules,
)

# How long a call may take, in seconds, unless the client is told otherwise.
DEFAULT_TIMEOUT: Final = 10.0
# The largest answer: 1000 explained claims of 256 positions each are about 80 MiB.
_MAX_RECEIVED_BYTES: Final = 128 * 1024 * 1024
OPTIONS: Final = (("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),)

# What a header takes: gRPC fails a call with anything else as if the server were at fault.
_KEY: Final = re.compile(r"[!-~]+")

# A request as a value, or as the message itself, which is sent as it is.
CheckRequest = ClaimRequest | rules_service_pb2.CheckClaimRequest
# A request of a stream: with a correlation id, or alone; then its id is its place, "1" the first.
StreamedRequest = CheckRequest | tuple[str, CheckRequest]

_P = ParamSpec("_P")
_R = TypeVar("_R")
# What one page holds, and the token of the next one; "" on the last page.
Page = tuple[list[Liquidation], str]
ClaimPage = tuple[list[Claim], str]


@dataclass(frozen=True, slots=True)
class Rpc(Generic[_P, _R]):
    """An RPC: its path, the message it answers with, and how values become messages and back."""

    name: str
    response: type[Message]
    ask: Callable[_P, Message]
    answer: Callable[[Any], _R]
    streams: bool = False

    def on(self, channel: Any) -> Any:
        """What carries it out on a channel of either kind; a stream goes both ways."""
        connect = channel.stream_stream if self.streams else channel.unary_unary
        return connect(
            f"/liquidation.v1.{self.name}",
            request_serializer=_serialized,
            response_deserializer=self.response.FromString,
        )


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def authorization(api_key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that shows a key, none for "". It goes over every channel, plaintext included.

    Raises:
        ValueError: the key cannot be sent. The text does not show it.
    """
    if not api_key:
        return ()
    if _KEY.fullmatch(api_key) is None:
        raise ValueError("api_key must be printable ASCII without spaces or line ends")
    return (("authorization", f"Bearer {api_key}"),)


def _checking(request: CheckRequest) -> rules_service_pb2.CheckClaimRequest:
    return message_of(rules_service_pb2.CheckClaimRequest, request)


def _putting(liquidation: Liquidation) -> liquidation_service_pb2.PutLiquidationRequest:
    message = message_of(liquidation_pb2.Liquidation, liquidation)
    return liquidation_service_pb2.PutLiquidationRequest(liquidation=message)


def _liquidation(response: Any) -> Liquidation:
    return value_of(Liquidation, response.liquidation)


def _beginning(
    request_id: str,
    terms: ClaimTerms,
    liquidation: Liquidation | None,
    liquidator: Liquidator | None,
    lease_ttl: timedelta | None,
) -> claim_service_pb2.BeginClaimRequest:
    checked = _checking(ClaimRequest(terms, liquidation, liquidator))
    return claim_service_pb2.BeginClaimRequest(
        request_id=request_id,
        terms=checked.terms,
        liquidation=None if liquidation is None else checked.liquidation,
        liquidator=None if liquidator is None else checked.liquidator,
        lease_ttl=lease_ttl,
    )


def _listing(
    account_id: str, liquidation_id: int, state: ClaimState | None, page_size: int, page_token: str
) -> claim_service_pb2.ListClaimsRequest:
    return claim_service_pb2.ListClaimsRequest(
        account_id=account_id,
        liquidation_id=liquidation_id,
        state=None if state is None else f"CLAIM_STATE_{state.name}",
        page_size=page_size,
        page_token=page_token,
    )


def _claim(response: Any) -> Claim:
    return value_of(Claim, response.claim)


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
    streams=True,
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
BEGIN_CLAIM: Final = Rpc(
    "ClaimService/BeginClaim",
    claim_service_pb2.BeginClaimResponse,
    _beginning,
    lambda response: value_of(GrantedClaim, response),
)
RENEW_CLAIM: Final[Rpc[[str, int, timedelta | None], Claim]] = Rpc(
    "ClaimService/RenewClaim",
    claim_service_pb2.RenewClaimResponse,
    lambda claim_id, fencing_token, lease_ttl: claim_service_pb2.RenewClaimRequest(
        claim_id=claim_id, fencing_token=fencing_token, lease_ttl=lease_ttl
    ),
    _claim,
)
COMPLETE_CLAIM: Final[Rpc[[str, int], Claim]] = Rpc(
    "ClaimService/CompleteClaim",
    claim_service_pb2.CompleteClaimResponse,
    lambda claim_id, fencing_token: claim_service_pb2.CompleteClaimRequest(
        claim_id=claim_id, fencing_token=fencing_token
    ),
    _claim,
)
CANCEL_CLAIM: Final[Rpc[[str, int, str, bool], Claim]] = Rpc(
    "ClaimService/CancelClaim",
    claim_service_pb2.CancelClaimResponse,
    lambda claim_id, fencing_token, reason, force: claim_service_pb2.CancelClaimRequest(
        claim_id=claim_id, fencing_token=fencing_token, reason=reason, force=force
    ),
    _claim,
)
GET_CLAIM: Final[Rpc[[str, str], ClaimRecord]] = Rpc(
    "ClaimService/GetClaim",
    claim_service_pb2.GetClaimResponse,
    lambda claim_id, request_id: claim_service_pb2.GetClaimRequest(
        claim_id=claim_id, request_id=request_id
    ),
    lambda response: value_of(ClaimRecord, response),
)
LIST_CLAIMS: Final[Rpc[[str, int, ClaimState | None, int, str], ClaimPage]] = Rpc(
    "ClaimService/ListClaims",
    claim_service_pb2.ListClaimsResponse,
    _listing,
    lambda response: (
        [value_of(Claim, each) for each in response.claims],
        response.next_page_token,
    ),
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
