"""The handlers of the three services, put together out of their parts."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from liquidation.api.admission import Admission
from liquidation.api.begin import BeginHandler
from liquidation.api.calls import UnaryCalls
from liquidation.api.check import CheckHandlers
from liquidation.api.claims import ClaimHandlers
from liquidation.api.convert import error_codes, rules_in_force
from liquidation.api.liquidations import LiquidationHandlers
from liquidation.auth.keys import Permission
from liquidation.config.live import LiveConfig
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.model import Claim
from liquidation.store.base import Store
from liquidation.transport.base import Call, Handler
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2

_RULES: Final = rules_service_pb2.DESCRIPTOR.services_by_name["LiquidationRulesService"]
_LIQUIDATIONS: Final = liquidation_service_pb2.DESCRIPTOR.services_by_name["LiquidationService"]
_CLAIMS: Final = claim_service_pb2.DESCRIPTOR.services_by_name["ClaimService"]


@dataclass(frozen=True, slots=True)
class Services:
    """What answers calls, by the paths of the methods, and what is needed of it beside them."""

    handlers: Mapping[str, Handler]
    admission: Admission
    # Writes the line of a lease that ran out.
    log_expired: Callable[[Claim], None]

    @property
    def names(self) -> tuple[str, ...]:
        """The services' full names."""
        return tuple(self.writing)

    @property
    def writing(self) -> Mapping[str, bool]:
        """The services' full names, and whether each writes to the store."""
        return {
            _RULES.full_name: False,
            _LIQUIDATIONS.full_name: True,
            _CLAIMS.full_name: True,
        }


def build_services(
    live: LiveConfig,
    log: DecisionLog,
    store: Store,
    observer: Observer,
    max_call_s: float,
    trace_id: Callable[[Call], str],
) -> Services:
    """The services, over one store and one log.

    `max_call_s` is how long a call may wait to be decided, whatever its own deadline.
    """
    numbers = count(1)

    def new_id() -> str:
        return f"{log.process}-{next(numbers)}"

    rules = live.active_policy
    admission = Admission(
        live.limits, live.keys, max_call_s, trace_id, observer, _utc, time.monotonic_ns
    )
    calls = partial(UnaryCalls, log, admission, new_id=new_id)
    check = CheckHandlers(store, rules, log, admission, new_id)
    liquidations = LiquidationHandlers(store, log, calls(Permission.LIQUIDATIONS), new_id)

    def log_expired(claim: Claim) -> None:
        nobody = CallInfo("", "", "", time.monotonic_ns())
        asked = {"claim_id": claim.claim_id}
        version = rules().policy.version
        log.claim_change(new_id(), nobody, "expire", asked, claim, None, version)

    begin = BeginHandler(
        store,
        rules,
        log,
        admission,
        new_id,
        lambda: uuid.uuid4().hex,
        liquidations.log_opened,
        log_expired,
    )
    claims = ClaimHandlers(store, rules, log, calls(Permission.CLAIMS), new_id, begin)
    reference = {
        "ListErrorCodes": calls(Permission.CHECK).unary(
            rules_service_pb2.ListErrorCodesRequest, lambda *_: error_codes()
        ),
        "GetRules": calls(Permission.CHECK).unary(
            rules_service_pb2.GetRulesRequest, lambda *_: rules_in_force(live.policy())
        ),
    }
    handlers = {
        **_paths(_RULES, {**check.handlers, **reference}),
        **_paths(_LIQUIDATIONS, liquidations.handlers),
        **_paths(_CLAIMS, claims.handlers),
    }
    return Services(handlers, admission, log_expired)


def _paths(service: ServiceDescriptor, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """The handlers of a service by their paths.

    Raises:
        ValueError: a method has no handler, or a handler no method.
    """
    if {method.name for method in service.methods} != handlers.keys():
        raise ValueError(f"handlers of {service.full_name} do not match its methods")
    return {f"/{service.full_name}/{name}": handler for name, handler in handlers.items()}


def _utc() -> datetime:
    return datetime.now(UTC)
