"""What goes on beside all calls: health, leases that run out, memory, files that change."""

from dataclasses import dataclass

from liquidation.api.services import Services
from liquidation.config import watched_file
from liquidation.config.live import LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.server.health import PROBE_S, Health
from liquidation.server.lease_reaper import ROUND_S, LeaseReaper
from liquidation.server.memory import POLL_S, MemoryGuard
from liquidation.server.periodic import Periodic
from liquidation.store.base import Store
from liquidation.transport import HealthTable, Server

__all__ = ["Parts", "Upkeep"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of beside its transport."""

    settings: Settings
    live: LiveConfig
    log: DecisionLog
    instruments: Instruments
    store: Store
    services: Services
    table: HealthTable


class Upkeep:
    """Goes on from `start` to `end`, each part of it on a thread of its own."""

    def __init__(self, parts: Parts, server: Server) -> None:
        settings, log = parts.settings, parts.log
        reaper = LeaseReaper(
            parts.store,
            settings.store_timeout,
            parts.services.log_expired,
            lambda: parts.live.policy().claims.retention_s,
            log,
        )
        self._health = Health(
            parts.store,
            settings.store_timeout,
            reaper,
            parts.live.files,
            parts.table,
            parts.services.writing,
            log,
            parts.instruments,
        )

        def fault(error: Exception) -> None:
            log.fault("", error)

        self._periodic = [
            Periodic("health", PROBE_S, self._health.refresh, fault),
            Periodic("lease-reaper", ROUND_S, reaper.reap, fault, at_once=True),
        ]
        if settings.max_memory:
            guard = MemoryGuard(settings.max_memory * _MIB, server.shed, log)
            self._periodic.append(Periodic("memory-guard", POLL_S, guard.check, fault))
        self._periodic += [
            Periodic(f"watch-{each.name}", watched_file.POLL_S, each.poll, fault)
            for each in parts.live.files
        ]

    def refresh_health(self) -> None:
        """Asks the store once, before the first caller asks for health."""
        self._health.refresh()

    def start(self) -> None:
        """Begins all of it."""
        for each in self._periodic:
            each.start()

    def end(self) -> None:
        """Ends all of it; from then on health says that nothing is served."""
        for each in self._periodic:
            each.stop()
        self._health.end()
