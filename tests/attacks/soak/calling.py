"""Calls to a server under soak, at a steady rate; each answer is counted and judged."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.rpc import status_pb2

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests.attacks.soak.asking import Ask
from tests.attacks.soak.server import Server
from tests.attacks.soak.tally import Tally
from tests.sidecars import details_of

CALL_S: Final = 10.0
# How long a caller waits at most before it sends again what was not answered.
PAUSE_S: Final = 0.1
PATHS: Final = {
    method.name: f"/{service.full_name}/{method.name}"
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Pace:
    """Gives turns at a steady rate, whoever asks; what could not be used is not made up for."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        now = time.monotonic()
        self._next = max(self._next, now) + self._gap
        await asyncio.sleep(self._next - now)


class Dialled:
    """A connection of one caller to the server, which is dropped for a new one now and then."""

    def __init__(self, name: int, server: Server, pace: Pace, tally: Tally, seed: int) -> None:
        """No two callers have one name."""
        self._name = name
        self._server = server
        self._pace = pace
        self._tally = tally
        self._chance = random.Random(f"{seed}-{name}")
        self._channel = server.dial()

    async def run(self, ended: asyncio.Event) -> None:
        """Calls until it is told to end."""
        raise NotImplementedError

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def _dial_again(self) -> None:
        await self._channel.close()
        self._channel = self._server.dial()

    def _metadata(self, key: str = "") -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {key or self._server.key}"),)

    def _invoked(self, ask: Ask, key: str = "") -> Any:
        invoke = self._channel.unary_unary(PATHS[ask.rpc])
        return invoke(ask.request, timeout=CALL_S, metadata=self._metadata(key))

    async def _answered(self, rpc: str, request: Any, *codes: int) -> bytes:
        """The answer to what may be sent again, and is until there is one; `codes` are right."""
        ask = Ask(rpc, request.SerializeToString(), codes or (0,))
        while (response := await self._once(ask)) is None:
            await asyncio.sleep(self._chance.uniform(0, PAUSE_S))
        return response

    async def _once(self, ask: Ask, key: str = "") -> bytes | None:
        """The response, empty where it is a refusal; None where there was no answer."""
        await self._pace.turn()
        sent = time.monotonic()
        try:
            response: bytes = await self._invoked(ask, key)
        except grpc.aio.AioRpcError as error:
            data = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
            code, decision = (-1011, "") if data is None else _refusal(data)
            if code == -1011:
                why = f"{error.code().name} {error.details()}"
                self._tally.no_answer(ask, sent, why)
                return None
            self._tally.answer(ask, code, filter(None, [decision]))
            return b""
        self._tally.answer(ask, 0, _decisions(ask.rpc, response))
        return response


def code_and_decision(result: rules_service_pb2.CheckClaimResult) -> tuple[int, str]:
    """The code of an item of a batch or a stream, and the id of its decision."""
    if result.HasField("accepted"):
        return 0, result.accepted.decision.decision_id
    return _refusal(result.refused.SerializeToString())


def _refusal(status: bytes) -> tuple[int, str]:
    """The code of a refusal, and the id of its decision, "" where it has none."""
    error = details_of(status_pb2.Status.FromString(status)).error
    return error.code, error.decision.decision_id


def _decisions(rpc: str, response: bytes) -> Iterator[str]:
    """The ids of the decisions that an answer tells of."""
    if rpc == "CheckClaim":
        yield rules_service_pb2.CheckClaimResponse.FromString(response).decision.decision_id
    elif rpc == "BeginClaim":
        yield claim_service_pb2.BeginClaimResponse.FromString(response).decision.decision_id
    elif rpc == "BatchCheckClaims":
        for result in rules_service_pb2.BatchCheckClaimsResponse.FromString(response).results:
            yield code_and_decision(result)[1]
