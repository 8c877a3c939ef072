"""LiquidationService: wire → register → wire. It decides nothing."""

import base64
import binascii
from typing import Final

from liquidation.core.model import Refusal
from liquidation.core.numbers import MAX_INT64
from liquidation.core.texts import SnapshotText
from liquidation.logs.lines import Call
from liquidation.register import Register, refused_field
from liquidation.service import rpc, wire
from liquidation.store.base import PutResult
from liquidation.v1 import liquidation_service_pb2

__all__ = ["liquidation_service"]

_INT64_DIGITS: Final = 19


def liquidation_service(register: Register, calls: rpc.PlainCalls) -> rpc.Service:
    """The service, ready to be added to a server."""
    servicer = _LiquidationServicer(register)
    pb = liquidation_service_pb2
    return rpc.Service(
        pb.DESCRIPTOR.services_by_name["LiquidationService"],
        unary={
            "PutLiquidation": calls.unary(
                "PutLiquidation", pb.PutLiquidationRequest, servicer.put, servicer.put_refused
            ),
            "BatchPutLiquidations": calls.unary(
                "BatchPutLiquidations",
                pb.BatchPutLiquidationsRequest,
                servicer.batch_put,
                servicer.batch_put_refused,
            ),
            "GetLiquidation": calls.unary("GetLiquidation", pb.GetLiquidationRequest, servicer.get),
            "ListLiquidations": calls.unary(
                "ListLiquidations", pb.ListLiquidationsRequest, servicer.list_open
            ),
            "CloseLiquidation": calls.unary(
                "CloseLiquidation",
                pb.CloseLiquidationRequest,
                servicer.close,
                servicer.close_refused,
            ),
        },
        stream={},
    )


class _LiquidationServicer:
    def __init__(self, register: Register) -> None:
        self._register = register

    async def put(
        self, request: liquidation_service_pb2.PutLiquidationRequest, call: Call
    ) -> liquidation_service_pb2.PutLiquidationResponse:
        (result,) = await self._register.put([_snapshot(request, "liquidation")], call)
        return _put_response(result)

    def put_refused(
        self,
        request: liquidation_service_pb2.PutLiquidationRequest,
        refusal: Refusal,
        call: Call,
    ) -> None:
        sent = request.liquidation
        self._register.refused(refusal, sent.liquidation_id, sent.account_id, sent.revision, call)

    async def batch_put(
        self, request: liquidation_service_pb2.BatchPutLiquidationsRequest, call: Call
    ) -> liquidation_service_pb2.BatchPutLiquidationsResponse:
        results = await self._register.put(
            [
                _snapshot(each, f"requests[{index}].liquidation")
                for index, each in enumerate(request.requests)
            ],
            call,
        )
        return liquidation_service_pb2.BatchPutLiquidationsResponse(
            results=map(_put_response, results)
        )

    def batch_put_refused(
        self,
        _: liquidation_service_pb2.BatchPutLiquidationsRequest,
        refusal: Refusal,
        call: Call,
    ) -> None:
        self._register.refused(refusal, 0, "", 0, call)

    async def get(
        self, request: liquidation_service_pb2.GetLiquidationRequest, _: Call
    ) -> liquidation_service_pb2.GetLiquidationResponse:
        found = await self._register.get(request.liquidation_id)
        return liquidation_service_pb2.GetLiquidationResponse(liquidation=wire.liquidation(found))

    async def list_open(
        self, request: liquidation_service_pb2.ListLiquidationsRequest, _: Call
    ) -> liquidation_service_pb2.ListLiquidationsResponse:
        page = await self._register.page(
            request.account_id, _after(request.page_token), request.page_size
        )
        return liquidation_service_pb2.ListLiquidationsResponse(
            liquidations=map(wire.liquidation, page.liquidations),
            next_page_token="" if page.next_after is None else _page_token(page.next_after),
        )

    async def close(
        self, request: liquidation_service_pb2.CloseLiquidationRequest, call: Call
    ) -> liquidation_service_pb2.CloseLiquidationResponse:
        closed = await self._register.close(request.liquidation_id, call)
        return liquidation_service_pb2.CloseLiquidationResponse(
            liquidation=wire.liquidation(closed)
        )

    def close_refused(
        self,
        request: liquidation_service_pb2.CloseLiquidationRequest,
        refusal: Refusal,
        call: Call,
    ) -> None:
        self._register.refused(refusal, request.liquidation_id, "", 0, call)


def _snapshot(
    request: liquidation_service_pb2.PutLiquidationRequest, path: str
) -> tuple[SnapshotText | None, str]:
    if not request.HasField("liquidation"):
        return None, path
    return wire.snapshot_text(request.liquidation), path


def _put_response(result: PutResult) -> liquidation_service_pb2.PutLiquidationResponse:
    return liquidation_service_pb2.PutLiquidationResponse(
        liquidation=wire.liquidation(result.liquidation),
        applied=result.applied,
        closed=result.closed,
    )


def _page_token(after: int) -> str:
    return base64.urlsafe_b64encode(f"after:{after}".encode()).decode()


def _after(token: str) -> int:
    """The key after which a page begins; callers are to send tokens back as they got them."""
    if not token:
        return 0
    try:
        word, _, key = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        word = key = ""
    after = int(key) if key.isascii() and key.isdigit() and len(key) <= _INT64_DIGITS else None
    if word != "after" or after is None or after > MAX_INT64:
        raise refused_field("page_token", "is not a token that this service gave")
    return after
