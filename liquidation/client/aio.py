"""The client for asyncio."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import timedelta
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import grpc

from liquidation.client import calls
from liquidation.client.calls import (
    DEFAULT_TIMEOUT,
    OPTIONS,
    Asked,
    CheckRequest,
    Rpc,
    StreamedRequest,
    authorization,
)
from liquidation.client.refused import ClaimAnswer, failure
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

_P = ParamSpec("_P")
_R = TypeVar("_R")


class AsyncLiquidationClient:
    """The client for asyncio, made and used inside one running event loop.

    It has the methods of `LiquidationClient`, which documents them. An async context manager, which
    closes it. A task that is cancelled ends its call, and raises asyncio.CancelledError as ever.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        *,
        api_key: str = "",
    ) -> None:
        """See `LiquidationClient`."""
        self._timeout = timeout
        self._metadata = authorization(api_key)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, OPTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def check_claim(
        self,
        terms: ClaimTerms,
        liquidation: Liquidation | None = None,
        liquidator: Liquidator | None = None,
        explain: bool = False,  # noqa: FBT001, FBT002 - the order of the message's fields
    ) -> CheckedClaim:
        return await self.check(ClaimRequest(terms, liquidation, liquidator, explain))

    async def check(self, request: CheckRequest) -> CheckedClaim:
        return await self._call(calls.CHECK_CLAIM, request)

    async def batch_check_claims(self, requests: Iterable[CheckRequest]) -> list[ClaimAnswer]:
        return await self._call(calls.BATCH_CHECK_CLAIMS, requests)

    async def stream_check_claims(
        self, requests: Iterable[StreamedRequest] | AsyncIterable[StreamedRequest]
    ) -> AsyncIterator[tuple[str, ClaimAnswer]]:
        asked = Asked()
        call = calls.STREAM_CHECK_CLAIMS.on(self._channel)(
            asked.messages_async(requests), metadata=self._metadata
        )
        try:
            async for response in call:
                yield calls.STREAM_CHECK_CLAIMS.answer(response)
        except grpc.RpcError as error:
            raise failure(error) from error
        finally:
            call.cancel()
        asked.end()

    async def list_error_codes(self) -> list[ErrorCode]:
        return await self._call(calls.LIST_ERROR_CODES)

    async def get_rules(self) -> Rules:
        return await self._call(calls.GET_RULES)

    async def put_liquidation(self, liquidation: Liquidation) -> PutResult:
        return await self._call(calls.PUT_LIQUIDATION, liquidation)

    async def batch_put_liquidations(self, liquidations: Iterable[Liquidation]) -> list[PutResult]:
        return await self._call(calls.BATCH_PUT_LIQUIDATIONS, liquidations)

    async def get_liquidation(self, liquidation_id: int) -> Liquidation:
        return await self._call(calls.GET_LIQUIDATION, liquidation_id)

    async def list_liquidations(
        self, account_id: str = "", page_size: int = 100
    ) -> AsyncIterator[Liquidation]:
        token = ""
        while True:
            page, token = await self._call(calls.LIST_LIQUIDATIONS, account_id, page_size, token)
            for each in page:
                yield each
            if not token:
                return

    async def close_liquidation(self, liquidation_id: int) -> Liquidation:
        return await self._call(calls.CLOSE_LIQUIDATION, liquidation_id)

    async def begin_claim(
        self,
        request_id: str,
        terms: ClaimTerms,
        liquidation: Liquidation | None = None,
        liquidator: Liquidator | None = None,
        lease_ttl: timedelta | None = None,
    ) -> GrantedClaim:
        return await self._call(
            calls.BEGIN_CLAIM, request_id, terms, liquidation, liquidator, lease_ttl
        )

    async def renew_claim(
        self, claim_id: str, fencing_token: int, lease_ttl: timedelta | None = None
    ) -> Claim:
        return await self._call(calls.RENEW_CLAIM, claim_id, fencing_token, lease_ttl)

    async def complete_claim(self, claim_id: str, fencing_token: int) -> Claim:
        return await self._call(calls.COMPLETE_CLAIM, claim_id, fencing_token)

    async def cancel_claim(
        self,
        claim_id: str,
        fencing_token: int = 0,
        reason: str = "",
        force: bool = False,  # noqa: FBT001, FBT002 - the order of the message's fields
    ) -> Claim:
        return await self._call(calls.CANCEL_CLAIM, claim_id, fencing_token, reason, force)

    async def get_claim(self, claim_id: str = "", request_id: str = "") -> ClaimRecord:
        return await self._call(calls.GET_CLAIM, claim_id, request_id)

    async def list_claims(
        self,
        account_id: str = "",
        liquidation_id: int = 0,
        state: ClaimState | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Claim]:
        token = ""
        while True:
            page, token = await self._call(
                calls.LIST_CLAIMS, account_id, liquidation_id, state, page_size, token
            )
            for each in page:
                yield each
            if not token:
                return

    async def _call(self, rpc: Rpc[_P, _R], *values: _P.args, **named: _P.kwargs) -> _R:
        call = rpc.on(self._channel)
        request = rpc.ask(*values, **named)
        try:
            response = await call(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise failure(error) from error
        return rpc.answer(response)
