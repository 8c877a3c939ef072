"""Admission for every RPC: authentication, deadline, concurrency limit, rate."""

import re
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from liquidation.api.rates import Rate
from liquidation.auth.keys import ANYONE, MALFORMED_KEY, Identity, KeyRing, Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.observer import Observer
from liquidation.rules import errors
from liquidation.rules.checks import RETRY_AFTER_S
from liquidation.rules.model import Refusal
from liquidation.rules.parse import MAX_ID
from liquidation.rules.policy import Limits
from liquidation.transport.base import Call, Metadata

# Refusals that stand for no rule.
ABANDONED: Final = Refusal(errors.CALL_ABANDONED)
TOO_MANY: Final = Refusal(errors.RATE_LIMIT_EXCEEDED, retry_after_s=RETRY_AFTER_S)
_AUTHORIZATION: Final = "authorization"
# The name of a scheme is read in any case (RFC 9110, section 11.1).
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
_NANOS: Final = 1_000_000_000


class ConcurrencyLimiter:
    """Counts the calls in progress; from any thread."""

    def __init__(self, most: Callable[[], int]) -> None:
        """`most` gives how many may be in progress at once; it may change meanwhile."""
        self._most = most
        self._lock = threading.Lock()
        # How many calls are counted now; for others to read.
        self.in_progress = 0

    def enter(self) -> bool:
        """Counts one more call, if it may be."""
        with self._lock:
            if self.in_progress >= self._most():
                return False
            self.in_progress += 1
            return True

    def leave(self) -> None:
        """Counts one call less."""
        with self._lock:
            self.in_progress -= 1


class Admission:
    """Looks at each call as it comes in, and counts it when it is answered.

    Limits and keys are asked for each time, since both change while the server runs. For the thread
    that answers, but for `answered`.
    """

    def __init__(
        self,
        limits: Callable[[], Limits],
        keys: Callable[[], KeyRing | None],
        max_call_s: float,
        trace_id: Callable[[Call], str],
        observer: Observer,
        now: Callable[[], datetime],
        monotonic_ns: Callable[[], int],
    ) -> None:
        """`keys` gives None while keys are off; `max_call_s` is how long a call may take.

        `now` is the aware time by which keys expire. `trace_id` tells that of a call.
        """
        self.limits = limits
        self.limiter = ConcurrencyLimiter(lambda: limits().max_concurrent_calls)
        self._keys = keys
        self._max_call_ns = int(max_call_s * _NANOS)
        self._trace_id = trace_id
        self._observer = observer
        self._now = now
        self._monotonic_ns = monotonic_ns
        self._rate = Rate(lambda: monotonic_ns() / _NANOS)

    def admit(self, rpc: str, permission: Permission, call: Call) -> CallInfo:
        """Who calls `rpc`, and whether their key has the permission for it."""
        started_ns = self._monotonic_ns()
        trace_id = self._trace_id(call)
        if self._keys() is None:
            return CallInfo(rpc, call.peer, trace_id, started_ns)
        identity = self.identify(call.metadata, permission)
        if isinstance(identity, Refusal):
            return CallInfo(rpc, call.peer, trace_id, started_ns, "", identity)
        return CallInfo(rpc, call.peer, trace_id, started_ns, identity.name)

    def identify(self, metadata: Metadata, permission: Permission) -> Identity | Refusal:
        """Who calls, by the key in `authorization: Bearer KEY`, or why that key is refused.

        A header that is there twice or of another form is -1001; for keys see `KeyRing.identify`.
        """
        ring = self._keys()
        if ring is None:
            return ANYONE
        headers = [value for name, value in metadata if name == _AUTHORIZATION]
        if not headers:
            return ring.identify(None, permission, self._now())
        bearer = _BEARER.fullmatch(headers[0]) if isinstance(headers[0], str) else None
        if bearer is None or len(headers) > 1:
            return MALFORMED_KEY
        return ring.identify(bearer[1], permission, self._now())

    def lacks(self, call: Call, permission: Permission) -> Refusal | None:
        """The refusal if the call's key lacks a further permission."""
        identity = self.identify(call.metadata, permission)
        return identity if isinstance(identity, Refusal) else None

    def refusal(self, call: Call, info: CallInfo, *, full: bool) -> Refusal | None:
        """Why a call is not to be looked at, for a reason outside of the rules; None if it is.

        Its caller is gone, it has taken longer than it may, its key does not allow it, or the
        server is `full`: there are as many calls in progress as there may be.
        """
        if call.cancelled or self._monotonic_ns() - info.started_ns > self._max_call_ns:
            return ABANDONED
        left = call.time_remaining()
        if left is not None and left <= 0:
            return ABANDONED
        if info.refusal is not None:
            return info.refusal
        return TOO_MANY if full else None

    def rate(self, liquidator_id: str, per_second: int) -> Refusal | None:
        """The refusal if a liquidator asks more often than `per_second`, which is 0 for no limit.

        What is refused does not count, and an id that cannot be one does not: the rule
        `well_formed` refuses it, and what a caller makes up must not fill the memory.
        """
        if per_second == 0 or not 0 < len(liquidator_id) <= MAX_ID:
            return None
        wait_s = self._rate.wait(liquidator_id, per_second)
        if wait_s is None:
            return None
        return Refusal(
            errors.RATE_LIMIT_EXCEEDED,
            values={"liquidator_requests_per_second": str(per_second)},
            retry_after_s=wait_s,
        )

    def answered(self, info: CallInfo, code: int) -> None:
        """Counts a unary call that is answered with `code`, 0 for a message."""
        if self._observer.counts:
            elapsed_ns = self._monotonic_ns() - info.started_ns
            self._observer.called(info.rpc, code, elapsed_ns / _NANOS)


def trace_id_of(call: Call) -> str:
    """The trace id of the W3C traceparent header of a call, "" if there is none."""
    for key, value in call.metadata:
        if key == "traceparent" and isinstance(value, str):
            parts = value.split("-")
            if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum():
                return parts[1]
    return ""
