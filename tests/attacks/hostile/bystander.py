"""A caller who behaves, while others do not."""

import asyncio
import time
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.attacks.hostile.calls import CHECK

_REQUEST = samples.check(samples.low_request()).SerializeToString()
_PATIENCE_S = 30


class Bystander:
    """Checks a claim again and again, and asks for health; any other answer is an error."""

    def __init__(self, channel: Any) -> None:
        self.seconds: list[float] = []
        self._check = channel.unary_unary(CHECK)
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    async def call(self) -> None:
        """Makes a call and asks for health.

        Raises:
            AssertionError: the answer is not right, or health is not good.
            grpc.aio.AioRpcError: there is no answer.
        """
        begun = time.perf_counter()
        data = await self._check(_REQUEST, timeout=_PATIENCE_S)
        self.seconds.append(time.perf_counter() - begun)
        answer = rules_service_pb2.CheckClaimResponse.FromString(data)
        assert answer.decision.accepted, answer
        assert answer.decision.total_notional == samples.LOW_NOTIONAL, answer

    async def look(self) -> None:
        """Asks for health."""
        call = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_S)
        response = await call
        assert response.status == health_pb2.HealthCheckResponse.SERVING, (
            response,
            await call.trailing_metadata(),
        )

    async def go_on(self, ended: asyncio.Event) -> None:
        """Calls until it is told to end."""
        while not ended.is_set():
            await self.call()
            if len(self.seconds) % 20 == 0:
                await self.look()
