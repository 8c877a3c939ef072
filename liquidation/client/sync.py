"""The client for threads."""

from collections.abc import Iterable, Iterator
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


class LiquidationClient:
    """The client for threads: calls block until they are answered. It may be shared by threads.

    A context manager, which closes it.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        *,
        api_key: str = "",
    ) -> None:
        """A client of the server at `address`, HOST:PORT or unix:PATH; in plaintext by default.

        `timeout` is how long each call may take, in seconds; None is without end. A stream takes as
        long as its requests do, so it has no deadline. `api_key` is sent with every call, "" is
        none. In plaintext whoever reads the traffic has it.

        Raises:
            ValueError: `api_key` has characters that no key has.
        """
        self._timeout = timeout
        self._metadata = authorization(api_key)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is in progress, and the connection."""
        self._channel.close()

    def check_claim(
        self,
        terms: ClaimTerms,
        liquidation: Liquidation | None = None,
        liquidator: Liquidator | None = None,
        explain: bool = False,  # noqa: FBT001, FBT002 - the order of the message's fields
    ) -> CheckedClaim:
        """May this liquidator take over these positions, now? A refusal is raised."""
        return self.check(ClaimRequest(terms, liquidation, liquidator, explain))

    def check(self, request: CheckRequest) -> CheckedClaim:
        """The same as `check_claim`, for a whole request."""
        return self._call(calls.CHECK_CLAIM, request)

    def batch_check_claims(self, requests: Iterable[CheckRequest]) -> list[ClaimAnswer]:
        """The answers to 1..1000 claims, in order; a refusal is a value among them."""
        return self._call(calls.BATCH_CHECK_CLAIMS, requests)

    def stream_check_claims(
        self, requests: Iterable[StreamedRequest]
    ) -> Iterator[tuple[str, ClaimAnswer]]:
        """The answers to any number of claims, in order, each with its correlation id.

        `requests` is read in another thread, as fast as the server takes them. Without an id of its
        own a request's correlation id is its place: "1", "2", and so on.
        """
        asked = Asked()
        call = calls.STREAM_CHECK_CLAIMS.on(self._channel)(
            asked.messages(requests), metadata=self._metadata
        )
        try:
            for response in call:
                yield calls.STREAM_CHECK_CLAIMS.answer(response)
        except grpc.RpcError as error:
            raise failure(error) from error
        finally:
            call.cancel()
        asked.end()

    def list_error_codes(self) -> list[ErrorCode]:
        """The exchange's error table, every row."""
        return self._call(calls.LIST_ERROR_CODES)

    def get_rules(self) -> Rules:
        """The rules in force."""
        return self._call(calls.GET_RULES)

    def put_liquidation(self, liquidation: Liquidation) -> PutResult:
        """Opens a liquidation, or refreshes its snapshot."""
        return self._call(calls.PUT_LIQUIDATION, liquidation)

    def batch_put_liquidations(self, liquidations: Iterable[Liquidation]) -> list[PutResult]:
        """The same for 1..1000 at once: all or nothing, one result each, in order."""
        return self._call(calls.BATCH_PUT_LIQUIDATIONS, liquidations)

    def get_liquidation(self, liquidation_id: int) -> Liquidation:
        """One open liquidation."""
        return self._call(calls.GET_LIQUIDATION, liquidation_id)

    def list_liquidations(
        self, account_id: str = "", page_size: int = 100
    ) -> Iterator[Liquidation]:
        """Every open liquidation by growing id, of one account unless that is "".

        They are fetched `page_size` (1..1000) at a time.
        """
        token = ""
        while True:
            page, token = self._call(calls.LIST_LIQUIDATIONS, account_id, page_size, token)
            yield from page
            if not token:
                return

    def close_liquidation(self, liquidation_id: int) -> Liquidation:
        """Ends a liquidation, for good; returns it as it was."""
        return self._call(calls.CLOSE_LIQUIDATION, liquidation_id)

    def begin_claim(
        self,
        request_id: str,
        terms: ClaimTerms,
        liquidation: Liquidation | None = None,
        liquidator: Liquidator | None = None,
        lease_ttl: timedelta | None = None,
    ) -> GrantedClaim:
        """Decides as `check_claim` does and, if the claim is accepted, takes the account's slot.

        `request_id` (1..64 printable ASCII characters) is the caller's name for this claim. Sent
        again with the same terms it gives the claim as it stands now: so an answer that was lost
        is asked for once more. A `liquidation` is stored. The lease runs for `lease_ttl`
        (1..300 s), by default as long as the rules say.
        """
        return self._call(calls.BEGIN_CLAIM, request_id, terms, liquidation, liquidator, lease_ttl)

    def renew_claim(
        self, claim_id: str, fencing_token: int, lease_ttl: timedelta | None = None
    ) -> Claim:
        """Lets the lease of an active claim run for `lease_ttl` from now.

        Refused with -1202 once the claim has ended, or its lease has run out.
        """
        return self._call(calls.RENEW_CLAIM, claim_id, fencing_token, lease_ttl)

    def complete_claim(self, claim_id: str, fencing_token: int) -> Claim:
        """Ends a claim whose positions were transferred. May be sent again."""
        return self._call(calls.COMPLETE_CLAIM, claim_id, fencing_token)

    def cancel_claim(
        self,
        claim_id: str,
        fencing_token: int = 0,
        reason: str = "",
        force: bool = False,  # noqa: FBT001, FBT002 - the order of the message's fields
    ) -> Claim:
        """Ends a claim whose positions were not transferred. May be sent again.

        `reason` has up to 256 characters. `force` is an operator's: it needs no token, and is
        logged as such.
        """
        return self._call(calls.CANCEL_CLAIM, claim_id, fencing_token, reason, force)

    def get_claim(self, claim_id: str = "", request_id: str = "") -> ClaimRecord:
        """A claim with its history, by exactly one of its two ids."""
        return self._call(calls.GET_CLAIM, claim_id, request_id)

    def list_claims(
        self,
        account_id: str = "",
        liquidation_id: int = 0,
        state: ClaimState | None = None,
        page_size: int = 100,
    ) -> Iterator[Claim]:
        """Every claim, newest first; "", 0 and None stand for all.

        They are fetched `page_size` (1..1000) at a time.
        """
        token = ""
        while True:
            page, token = self._call(
                calls.LIST_CLAIMS, account_id, liquidation_id, state, page_size, token
            )
            yield from page
            if not token:
                return

    def _call(self, rpc: Rpc[_P, _R], *values: _P.args, **named: _P.kwargs) -> _R:
        call = rpc.on(self._channel)
        request = rpc.ask(*values, **named)
        try:
            response = call(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise failure(error) from error
        return rpc.answer(response)
