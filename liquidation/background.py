"""What goes on beside all calls: keeping health true, and settling claims whose lease is over."""

import asyncio
from typing import Final

from grpc_health.v1 import health, health_pb2

from liquidation.claims import Claims
from liquidation.logs.writer import DecisionLog
from liquidation.store.base import Store, StoreUnavailableError

__all__ = ["StoreHealth", "settle_claims"]

# How often the store is asked whether it answers, in seconds.
_PROBE_S: Final = 1.0
# How often leases that ran out are written down, in seconds; they are over before that.
_SETTLE_S: Final = 1.0


class StoreHealth:
    """Keeps the health of all services true: serving exactly while the store answers."""

    def __init__(
        self,
        store: Store,
        servicer: health.aio.HealthServicer,
        services: list[str],
        log: DecisionLog,
    ) -> None:
        """`services` are the names with an entry of their own; the overall one comes with them."""
        self._store = store
        self._servicer = servicer
        self._names = [*services, health.OVERALL_HEALTH]
        self._log = log
        self._serving: bool | None = None

    async def refresh(self) -> None:
        """Asks the store once; tells callers and the log where the answer has changed."""
        problem = ""
        try:
            await self._store.probe()
        except StoreUnavailableError as error:
            problem = str(error)
        serving = not problem
        if serving is self._serving:
            return
        states = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, states.SERVING if serving else states.NOT_SERVING)
        if not serving:
            self._log.note("error", "store_unavailable", problem=problem)
        elif self._serving is False:
            self._log.note("info", "store_available")
        self._serving = serving

    async def run(self) -> None:
        """Asks again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_PROBE_S)
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - the background goes on, the fault is told
                self._log.fault("", error)


async def settle_claims(claims: Claims, log: DecisionLog) -> None:
    """Tells leases that ran out and forgets old claims, in rounds, until it is cancelled."""
    while True:
        try:
            await claims.settle()
        except StoreUnavailableError as error:
            log.note("warning", "settling_failed", problem=str(error))
        except Exception as error:  # noqa: BLE001 - the background goes on, and the fault is told
            log.fault("", error)
        await asyncio.sleep(_SETTLE_S)
