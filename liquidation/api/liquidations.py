"""LiquidationService: what is under liquidation, written by the risk backend."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from google.protobuf.message import Message

from liquidation.api.calls import (
    Chunks,
    RefusedError,
    UnaryCalls,
    ask,
    chunked,
    key_of,
    page_rows,
    page_token,
    refused_field,
    require_id,
)
from liquidation.api.convert import fill_liquidation
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.checks import not_found, slot_taken, wrong_format
from liquidation.rules.model import Liquidation, Refusal, StoredState
from liquidation.rules.parse import parse_liquidation
from liquidation.rules.policy import MAX_BATCH
from liquidation.store.base import AccountMismatchError, ClaimActiveError, PutResult, Store
from liquidation.transport.base import Call, Handler
from liquidation.v1 import liquidation_service_pb2 as pb


class LiquidationHandlers:
    """The handlers of LiquidationService."""

    def __init__(
        self, store: Store, log: DecisionLog, calls: UnaryCalls, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._log = log
        self._new_id = new_id
        self.handlers: Mapping[str, Handler] = {
            "PutLiquidation": calls.unary(pb.PutLiquidationRequest, self._put, self._put_refused),
            "BatchPutLiquidations": calls.unary(
                pb.BatchPutLiquidationsRequest,
                self._batch_put,
                self._batch_put_refused,
            ),
            "GetLiquidation": calls.unary(pb.GetLiquidationRequest, self._get),
            "ListLiquidations": calls.unary(pb.ListLiquidationsRequest, self._list),
            "CloseLiquidation": calls.unary(
                pb.CloseLiquidationRequest, self._close, self._close_refused
            ),
        }

    def _put(
        self, request: pb.PutLiquidationRequest, info: CallInfo, call: Call
    ) -> Chunks[Message]:
        response = pb.PutLiquidationResponse()
        (result,) = yield from self._stored([request], ["liquidation"], info, call)
        _fill_put(response, result)
        return response

    def _batch_put(
        self, request: pb.BatchPutLiquidationsRequest, info: CallInfo, call: Call
    ) -> Chunks[Message]:
        puts = request.requests
        if not 1 <= len(puts) <= MAX_BATCH:
            raise refused_field("requests", f"must have 1 to {MAX_BATCH} entries")
        paths = [f"requests[{index}].liquidation" for index in range(len(puts))]
        results = yield from self._stored(puts, paths, info, call)
        response = pb.BatchPutLiquidationsResponse()
        yield from chunked(
            iter(results),
            lambda result: _fill_put(response.results.add(), result),
            lambda result: len(result.liquidation.positions),
        )
        return response

    def _stored(
        self,
        puts: Sequence[pb.PutLiquidationRequest],
        paths: list[str],
        info: CallInfo,
        call: Call,
    ) -> Chunks[list[PutResult]]:
        """Opens or refreshes liquidations, all or none.

        Raises:
            RefusedError: -1005, if one is absent, not well formed or another account's.
        """
        liquidations: list[Liquidation] = []
        yield from chunked(
            zip(puts, paths, strict=True),
            lambda put: liquidations.append(_parsed(*put)),
            lambda put: len(put[0].liquidation.positions),
        )
        try:
            results: list[PutResult] = yield from ask(call, partial(self._store.put, liquidations))
        except AccountMismatchError as error:
            path = f"{paths[error.index]}.account_id"
            raise refused_field(path, "is another than the stored one") from error
        yield from chunked(
            (result.liquidation for result in results if result.opened),
            partial(self.log_opened, info),
            lambda opened: len(opened.positions),
        )
        return results

    def log_opened(self, info: CallInfo, liquidation: Liquidation) -> None:
        """Writes the line of a liquidation that was opened."""
        self._log.liquidation(self._new_id(), info, "opened", liquidation)

    def _get(self, request: pb.GetLiquidationRequest, _: CallInfo, call: Call) -> Chunks[Message]:
        liquidation_id = _required_id(request.liquidation_id)
        found = yield from ask(call, partial(self._store.get, liquidation_id))
        response = pb.GetLiquidationResponse()
        fill_liquidation(response.liquidation, _found(found, liquidation_id))
        return response

    def _list(
        self, request: pb.ListLiquidationsRequest, _: CallInfo, call: Call
    ) -> Chunks[Message]:
        after, account_id = key_of(request.page_token, "after"), request.account_id
        if account_id:
            require_id(account_id, "account_id")
        rows = page_rows(request.page_size)
        page = yield from ask(call, partial(self._store.page, account_id, after, rows))
        response = pb.ListLiquidationsResponse(next_page_token=page_token("after", page.next_after))
        yield from chunked(
            iter(page.liquidations),
            lambda found: fill_liquidation(response.liquidations.add(), found),
            lambda found: len(found.positions),
        )
        return response

    def _close(
        self, request: pb.CloseLiquidationRequest, info: CallInfo, call: Call
    ) -> Chunks[Message]:
        liquidation_id = _required_id(request.liquidation_id)
        try:
            closed = yield from ask(call, partial(self._store.close_liquidation, liquidation_id))
        except ClaimActiveError as error:
            raise RefusedError(slot_taken(StoredState(active_claim=error.active))) from error
        liquidation = _found(closed, liquidation_id)
        self._log.liquidation(self._new_id(), info, "closed", liquidation)
        response = pb.CloseLiquidationResponse()
        fill_liquidation(response.liquidation, liquidation)
        return response

    def _put_refused(
        self, request: pb.PutLiquidationRequest, refusal: Refusal, decision_id: str, info: CallInfo
    ) -> None:
        sent = request.liquidation
        self._log.liquidation_refused(
            decision_id, info, refusal, sent.liquidation_id, sent.account_id, sent.revision
        )

    def _batch_put_refused(
        self,
        _: pb.BatchPutLiquidationsRequest,
        refusal: Refusal,
        decision_id: str,
        info: CallInfo,
    ) -> None:
        self._log.liquidation_refused(decision_id, info, refusal)

    def _close_refused(
        self,
        request: pb.CloseLiquidationRequest,
        refusal: Refusal,
        decision_id: str,
        info: CallInfo,
    ) -> None:
        self._log.liquidation_refused(decision_id, info, refusal, request.liquidation_id)


def _parsed(put: pb.PutLiquidationRequest, path: str) -> Liquidation:
    if not put.HasField("liquidation"):
        raise refused_field(path, "is required")
    parsed = parse_liquidation(put.liquidation, path)
    if isinstance(parsed, Liquidation):
        return parsed
    raise RefusedError(wrong_format(*parsed))


def _fill_put(response: pb.PutLiquidationResponse, result: PutResult) -> None:
    fill_liquidation(response.liquidation, result.liquidation)
    response.applied = result.applied
    response.closed = result.closed


def _required_id(liquidation_id: int) -> int:
    if liquidation_id <= 0:
        raise refused_field("liquidation_id", "must be above zero")
    return liquidation_id


def _found(liquidation: Liquidation | None, liquidation_id: int) -> Liquidation:
    if liquidation is None:
        raise RefusedError(not_found(liquidation_id))
    return liquidation
