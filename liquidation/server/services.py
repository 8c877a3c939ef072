"""Puts the three services together out of their parts."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from liquidation.api.claim_servicer import claim_service
from liquidation.api.claiming import Claiming
from liquidation.api.claims import Claims
from liquidation.api.desk import Desk
from liquidation.api.door import Door, Metadata
from liquidation.api.guards import Guard
from liquidation.api.liquidation_servicer import liquidation_service
from liquidation.api.register import Register
from liquidation.api.rpc import PlainCalls, Service, Unfinished
from liquidation.api.rules_servicer import rules_service
from liquidation.api.shedding import Shedding
from liquidation.auth.keys import Permission
from liquidation.config.live import LiveConfig
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.writer import DecisionLog
from liquidation.store.base import Store

__all__ = ["Services", "put_together"]

_CLOCK: Final = time.monotonic_ns


@dataclass(frozen=True, slots=True)
class Services:
    """What answers calls, and what is needed of it beside them."""

    handlers: tuple[Service, ...]
    claims: Claims
    door: Door
    unfinished: Unfinished

    @property
    def writing(self) -> dict[str, bool]:
        """The services' full names, and whether each writes to the store."""
        rules, *others = (each.name for each in self.handlers)
        return {rules: False} | dict.fromkeys(others, True)


def put_together(
    in_force: LiveConfig,
    guard: Guard,
    log: DecisionLog,
    store: Store,
    observer: Observer,
    max_call_s: float,
    trace_id: Callable[[Metadata], str],
    max_memory_bytes: int = 0,
) -> Services:
    """The services, over one store and one log; `max_memory_bytes` is as `Shedding` has it."""
    numbers = count(1)

    def new_id() -> str:
        return f"{log.process}-{next(numbers)}"

    unfinished = Unfinished()
    door = Door(
        guard, in_force.limits, max_call_s, trace_id, observer, _CLOCK, Shedding(max_memory_bytes)
    )

    def calls(permission: Permission) -> PlainCalls:
        return PlainCalls(log, door, unfinished, permission, new_id)

    rules = in_force.rulebook
    desk = Desk(store, rules, log, new_id, _CLOCK)
    register = Register(store, log, new_id, _CLOCK)
    claims = Claims(store, rules, log, new_id, _CLOCK)
    claiming = Claiming(
        store, rules, log, register, claims.tell_expired, new_id, lambda: uuid.uuid4().hex, _CLOCK
    )
    handlers = (
        rules_service(desk, in_force.policy, door, unfinished, calls(Permission.CHECK)),
        liquidation_service(register, calls(Permission.LIQUIDATIONS)),
        claim_service(claiming, claims, door, unfinished, calls(Permission.CLAIMS)),
    )
    return Services(handlers, claims, door, unfinished)
