"""Admission for every RPC: authentication, deadline, concurrency limit, rate."""

import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Final

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
_WINDOW_S: Final = 1
# Names dropped with each request. A request adds at most one, so two never fall behind, and they
# are few enough to cause no pause.
_DROPPED_A_REQUEST: Final = 2
_MILLISECOND: Final = Decimal("0.001")


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

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Counts a call while the block runs; False if there is no place for it."""
        entered = self.enter()
        try:
            yield entered
        finally:
            if entered:
                self.leave()


class Rate:
    """How often each liquidator may ask: a moving window of a second, for one thread.

    The window is exact: in no second do more requests pass than the limit, and the first that may
    pass does. A request costs 2 to 4 µs; names of which nothing passed in the last second are
    dropped by later requests, a few at a time.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds and never goes back."""
        self._monotonic = monotonic
        self._per_second = 0
        # When the requests that passed did, oldest first. Names stand in the order of their last
        # request that passed, so those whose window is over come first.
        self._passed: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, name: str, per_second: int) -> Decimal | None:
        """None if a request of `name` may pass, which counts it; else the seconds until one may.

        At most `per_second` pass in any second. What is refused does not count. The seconds are
        whole milliseconds, at least one, and a request after them passes if no other did before.
        A changed limit begins with empty windows.
        """
        if per_second != self._per_second:
            self._per_second = per_second
            self._passed.clear()
        now = self._monotonic()
        begin = now - _WINDOW_S
        self._drop(begin)
        passed = self._passed.setdefault(name, [])
        del passed[: bisect_right(passed, begin)]
        if len(passed) >= per_second:
            return (int((passed[0] + _WINDOW_S - now) * 1000) + 1) * _MILLISECOND
        passed.append(now)
        self._passed.move_to_end(name)
        return None

    def __len__(self) -> int:
        """How many names are held: those of the last second, and some yet to be dropped."""
        return len(self._passed)

    def _drop(self, begin: float) -> None:
        """Forgets names of which nothing passed after `begin`, a few at a time."""
        for _ in range(_DROPPED_A_REQUEST):
            name = next(iter(self._passed), None)
            if name is None or self._passed[name][-1] > begin:
                return
            del self._passed[name]


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
