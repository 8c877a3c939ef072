"""What stands before a call: its key, its liquidator's rate, how many may be in progress."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Self

from liquidation.api.rates import Rate
from liquidation.auth.keys import ANYONE, MALFORMED_KEY, Identity, KeyRing, Permission
from liquidation.rules import errors
from liquidation.rules.checks import RETRY_AFTER_S
from liquidation.rules.intake import MAX_ID
from liquidation.rules.model import Refusal
from liquidation.rules.policy import Limits

__all__ = ["TOO_MANY", "Admission", "Guard", "Metadata"]

Metadata = Iterable[tuple[str, str | bytes]]

TOO_MANY: Final = Refusal(errors.RATE_LIMIT_EXCEEDED, retry_after_s=RETRY_AFTER_S)
_AUTHORIZATION: Final = "authorization"
# The name of a scheme is read in any case (RFC 9110, section 11.1).
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)


class Guard:
    """Looks at keys and rates, and counts the calls in progress.

    A stream counts while some of its items are answered: whoever merely keeps one open takes no
    place from others. Limits and keys are asked for each time, since both change while the server
    runs. For one thread: that of the event loop.
    """

    def __init__(
        self,
        limits: Callable[[], Limits],
        keys: Callable[[], KeyRing | None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """`keys` gives None while keys are off.

        `now` is the aware time by which keys expire; `monotonic`, in seconds, that of rates.
        """
        self._limits = limits
        self._keys = keys
        self._now = now
        self._rate = Rate(monotonic)
        self._in_progress = 0

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

    def rate(self, liquidator_id: str) -> Refusal | None:
        """The refusal where a liquidator asks too often now; what is refused does not count.

        An id that cannot be one is not counted: the rule `well_formed` refuses it, and what a
        caller makes up must not fill the memory.
        """
        per_second = self._limits().liquidator_requests_per_second
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

    def admit(self) -> "Admission":
        """To be entered for a call: counts it while the block runs, if it is not one too many."""
        return Admission(self)

    @property
    def in_progress(self) -> int:
        """How many calls are counted now."""
        return self._in_progress

    def take(self) -> bool:
        """Counts one more call in progress, if it may be."""
        if self._in_progress >= self._limits().max_concurrent_calls:
            return False
        self._in_progress += 1
        return True

    def give_back(self) -> None:
        """Counts one call less."""
        self._in_progress -= 1


class Admission:
    """Whether a call may go on. One that was refused holds no place."""

    __slots__ = ("_guard", "granted")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.granted = False

    def __enter__(self) -> Self:
        self.granted = self._guard.take()
        return self

    def __exit__(self, *_: object) -> None:
        if self.granted:
            self._guard.give_back()

    @property
    def refusal(self) -> Refusal | None:
        """The refusal where the call was one too many when it was entered."""
        return None if self.granted else TOO_MANY
