"""LiquidationService: wire → register → wire. It decides nothing."""

from liquidation.api import rpc, wire
from liquidation.api.register import Register
from liquidation.decisionlog.entry import Call
from liquidation.rules.model import Refusal
from liquidation.rules.texts import SnapshotText
from liquidation.store.base import PutResult
from liquidation.v1 import liquidation_service_pb2

__all__ = ["liquidation_service"]


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
        shedding=calls.shedding,
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
        decision_id: str,
        call: Call,
    ) -> None:
        sent = request.liquidation
        self._register.refused(
            refusal,
            decision_id,
            call,
            liquidation_id=sent.liquidation_id,
            account_id=sent.account_id,
            revision=sent.revision,
        )

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
        decision_id: str,
        call: Call,
    ) -> None:
        self._register.refused(refusal, decision_id, call)

    async def get(
        self, request: liquidation_service_pb2.GetLiquidationRequest, _: Call
    ) -> liquidation_service_pb2.GetLiquidationResponse:
        found = await self._register.get(request.liquidation_id)
        return liquidation_service_pb2.GetLiquidationResponse(liquidation=wire.liquidation(found))

    async def list_open(
        self, request: liquidation_service_pb2.ListLiquidationsRequest, _: Call
    ) -> liquidation_service_pb2.ListLiquidationsResponse:
        page = await self._register.page(
            request.account_id, rpc.key_of(request.page_token, "after"), request.page_size
        )
        return liquidation_service_pb2.ListLiquidationsResponse(
            liquidations=map(wire.liquidation, page.liquidations),
            next_page_token=""
            if page.next_after is None
            else rpc.page_token("after", page.next_after),
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
        decision_id: str,
        call: Call,
    ) -> None:
        self._register.refused(refusal, decision_id, call, liquidation_id=request.liquidation_id)


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
