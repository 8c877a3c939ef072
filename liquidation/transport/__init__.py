"""gRPC itself: takes calls and hands them to handlers; knows nothing of liquidations."""

from liquidation.transport.base import (
    Call,
    EndedCall,
    Exchange,
    Handler,
    Metadata,
    Server,
    Step,
    Subscription,
    Unary,
    Work,
)
from liquidation.transport.health import HealthTable
from liquidation.transport.open import open_server
from liquidation.transport.reflection import reflection_handlers

__all__ = [
    "Call",
    "EndedCall",
    "Exchange",
    "Handler",
    "HealthTable",
    "Metadata",
    "Server",
    "Step",
    "Subscription",
    "Unary",
    "Work",
    "open_server",
    "reflection_handlers",
]
