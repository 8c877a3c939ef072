"""The servicers: a message in, a message or an abort out, and a line in the log."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog
from grpc_status import rpc_status

from bench.naive import stubs
from bench.naive.database import Database
from liquidation.api import refusals, wire
from liquidation.api.claim_servicer import claim_message
from liquidation.api.desk import Answer
from liquidation.api.rules_servicer import claim_result
from liquidation.decisionlog.entry import Call, claim_fields, decision_fields, request_record
from liquidation.rules.evaluate import assemble, decide
from liquidation.rules.intake import Intake, read_liquidation, read_request
from liquidation.rules.leases import lease_us
from liquidation.rules.model import Decision, Refusal, RuleInput, StoredState
from liquidation.rules.numbers import Ratio, plain
from liquidation.rules.policy import Policy
from liquidation.rules.texts import Sent
from liquidation.store.base import BeginRequest, StateQuery
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2

__all__ = ["ClaimServicer", "LiquidationServicer", "RulesServicer"]

_POLICY: Final = Policy()
_NUMBERS = itertools.count(1)
_LOG: Any = structlog.get_logger()


def _call(rpc: str, context: Any) -> Call:
    metadata = dict(context.invocation_metadata())
    return Call(rpc, context.peer(), metadata.get("traceparent", ""), time.monotonic_ns())


def _log(
    event: str,
    answer: Answer,
    sent: Sent,
    intake: Intake,
    case: RuleInput | None,
    call: Call,
    claim: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    verdict, refusal = answer.verdict, answer.verdict.refusal
    line = decision_fields(answer.decision_id, sent, intake, verdict, call, time.monotonic_ns())
    line |= {
        "outcome": "accepted" if refusal is None else "refused",
        "code": 0 if refusal is None else refusal.row.code,
        "name": "" if refusal is None else refusal.row.kind.name,
        "message": "" if refusal is None else refusal.message,
        "rule": "" if refusal is None else refusal.rule,
        "total_notional": _number(verdict.total_notional),
        "least_req_ratio": _number(verdict.least_req_ratio),
        "margin_ratio": _number(verdict.margin_ratio),
        "maintenance_margin_ratio": _number(verdict.maintenance_margin_ratio),
        "revision": verdict.liquidation_revision,
        "rules_version": verdict.rules_version,
        "process": "naive",
        "seq": next(_NUMBERS),
        "request": request_record(sent, intake, case),
    }
    _LOG.info(event, **(line | claim))


def _number(number: Ratio | None) -> str:
    return "" if number is None else plain(number)


async def _abort(context: Any, refusal: Refusal, answer: Answer) -> None:
    decision = wire.decision(answer.decision_id, answer.verdict)
    await context.abort_with_status(rpc_status.to_status(refusals.status(refusal, decision)))


class RulesServicer(stubs.rules_service.LiquidationRulesServiceServicer):  # type: ignore[misc]
    """Decides; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CheckClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = self._check(request, _call("CheckClaim", context))
        if answer.verdict.refusal is not None:
            await _abort(context, answer.verdict.refusal, answer)
        return wire.checked(answer.decision_id, answer.verdict)

    async def BatchCheckClaims(self, request: Any, context: Any) -> Any:  # noqa: N802
        call = _call("BatchCheckClaims", context)
        return rules_service_pb2.BatchCheckClaimsResponse(
            results=[claim_result(self._check(each, call)) for each in request.requests]
        )

    async def StreamCheckClaims(  # noqa: N802
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        async for item in requests:
            answer = self._check(item.request, _call("StreamCheckClaims", context))
            yield rules_service_pb2.StreamCheckClaimsResponse(
                correlation_id=item.correlation_id, result=claim_result(answer)
            )

    def _check(self, request: Any, call: Call) -> Answer:
        sent = wire.sent(request)
        assert sent.request is not None
        intake = read_request(sent.request)
        state: StoredState | None = None
        if intake.terms is not None:
            query = StateQuery.about(intake.terms, intake.snapshot)
            state = self._database.state(query)
        case = assemble(_POLICY, intake, state, sent.unknown_fields)
        answer = Answer(f"naive-{time.time_ns()}", decide(case, explain=sent.explain))
        _log("decision", answer, sent, intake, case, call)
        return answer


class LiquidationServicer(stubs.liquidation_service.LiquidationServiceServicer):  # type: ignore[misc]
    """What is under liquidation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def PutLiquidation(self, request: Any, _: Any) -> Any:  # noqa: N802
        (result,) = await self._put([request])
        return result

    async def BatchPutLiquidations(self, request: Any, _: Any) -> Any:  # noqa: N802
        results = await self._put(request.requests)
        return liquidation_service_pb2.BatchPutLiquidationsResponse(results=results)

    async def _put(self, requests: Sequence[Any]) -> list[Any]:
        snapshots = []
        for each in requests:
            snapshot = read_liquidation(wire.snapshot_text(each.liquidation), "liquidation")
            if isinstance(snapshot, tuple):
                raise ValueError(snapshot)
            snapshots.append(snapshot)
        results = await asyncio.to_thread(self._database.put, snapshots)
        return [
            liquidation_service_pb2.PutLiquidationResponse(
                liquidation=wire.liquidation(each.liquidation), applied=each.applied
            )
            for each in results
        ]


class ClaimServicer(stubs.claim_service.ClaimServiceServicer):  # type: ignore[misc]
    """Holds the in-progress state, one commit a claim."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def BeginClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        call = _call("BeginClaim", context)
        sent = wire.begin_sent(request)
        assert sent.request is not None
        intake = read_request(sent.request)
        assert intake.terms is not None, "the bench sends nothing else"
        decision_id = f"naive-{time.time_ns()}"
        lease = (request.lease_ttl.seconds, request.lease_ttl.nanos)
        begin = BeginRequest(
            request_id=request.request_id,
            claim_id=decision_id,
            decision_id=decision_id,
            terms=intake.terms,
            snapshot=intake.snapshot,
            lease_us=lease_us(lease, _POLICY.claims.default_lease_ttl_s),
        )

        def judge(state: StoredState) -> Decision:
            return decide(assemble(_POLICY, intake, state, sent.unknown_fields))

        begun = await asyncio.to_thread(self._database.begin, begin, judge)
        answer = Answer(begun.decision_id, begun.verdict)
        _log("claim", answer, sent, intake, None, call, claim_fields("begin", begun.claim))
        if begun.claim is None:
            assert begun.verdict.refusal is not None
            await _abort(context, begun.verdict.refusal, answer)
        decision = wire.decision(answer.decision_id, answer.verdict)
        return claim_service_pb2.BeginClaimResponse(
            claim=claim_message(begun.claim), decision=decision
        )
