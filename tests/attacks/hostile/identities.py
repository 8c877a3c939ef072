"""Attacks by names that are made up: each asks for something to be kept."""

import uuid
from collections.abc import Iterator
from itertools import islice

from liquidation.v1 import claim_service_pb2, liquidation_pb2, rules_service_pb2
from tests.attacks.hostile.attack import Effort, Got
from tests.attacks.hostile.calls import BATCH, BEGIN_CLAIM, CHECK, CLAIM
from tests.attacks.hostile.wire import Wire, call_headers, message, request

_A_BATCH = 1000
# Calls under way at once.
_AT_ONCE = 32


async def distinct_ids(address: str, effort: Effort) -> Got:
    """Batches of a thousand claims, each of a liquidator and on a liquidation of its own."""
    wire = await Wire.open(address)
    for number in range(effort.many):
        batch = rules_service_pb2.BatchCheckClaimsRequest(
            requests=[rules_service_pb2.CheckClaimRequest(terms=_terms()) for _ in range(_A_BATCH)]
        )
        await wire.send(request(2 * number + 1, call_headers(BATCH)))
        await wire.body(2 * number + 1, message(batch.SerializeToString()))
        await wire.until(number + 1)
    return await wire.close()


async def distinct_requests(address: str, effort: Effort) -> Got:
    """Claims that are begun on what is not there, each under a request_id of its own."""

    def calls() -> Iterator[bytes]:
        for number in range(effort.many):
            begin = claim_service_pb2.BeginClaimRequest(
                request_id=str(uuid.uuid4()), terms=_terms()
            )
            data = message(begin.SerializeToString())
            yield request(2 * number + 1, call_headers(BEGIN_CLAIM), data)

    return await _in_turns(address, calls())


async def distinct_traces(address: str, effort: Effort) -> Got:
    """Sound checks, each of a trace of its own."""

    def calls() -> Iterator[bytes]:
        for number in range(effort.many):
            trace = ("traceparent", f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01")
            yield request(2 * number + 1, call_headers(CHECK, trace), CLAIM)

    return await _in_turns(address, calls())


def _terms() -> liquidation_pb2.ClaimTerms:
    made_up = uuid.uuid4()
    return liquidation_pb2.ClaimTerms(
        liquidation_id=made_up.int >> 65, liquidator_id=str(made_up), ratio_qty_request="1"
    )


async def _in_turns(address: str, calls: Iterator[bytes]) -> Got:
    wire = await Wire.open(address)
    sent = 0
    while some := list(islice(calls, _AT_ONCE)):
        sent += len(some)
        await wire.send(*some)
        await wire.until(sent)
    return await wire.close()
