"""How often each liquidator may ask: a moving window of a second, kept by the library `limits`.

The window is exact: in no second more requests pass than the limit, and the first that may pass
does. What the library keeps windows in is ours. Its own MemoryStorage (5.8.0) forgets no id of a
moving window (a million left 274 MiB behind, and its sweep of them held a hit up for 0.5 s), starts
a thread for a hit after a pause (140 to 170 µs, median), and counts on the wall clock, where a step
back refuses everybody. Here, on the same machine, a hit costs 2 to 4 µs (after a pause 5 to 13);
of a million ids, as fast as they came, at most 280,000 were held, in 80 MiB, and later hits drop
them.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage.base import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

__all__ = ["Rate"]

_WINDOW_S: Final = 1
# Windows that are over and dropped with each hit. Two are enough to fall behind never, since a hit
# begins at most one, and few enough to be no pause.
_DROPPED_A_HIT: Final = 2
_MILLISECOND: Final = Decimal("0.001")


class Rate:
    """Counts requests by name. It is for one thread: that of the event loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds and never goes back."""
        self._monotonic = monotonic
        self._windows = _Windows(monotonic)
        self._limiter = MovingWindowRateLimiter(self._windows)
        self._item = RateLimitItemPerSecond(1)

    def wait(self, name: str, per_second: int) -> Decimal | None:
        """None where a request of `name` may pass, which counts it; else the seconds until one may.

        At most `per_second` pass in any second. What is refused does not count. The seconds are
        whole milliseconds, at least one, and a request after them passes if no other did before.
        A changed limit begins with empty windows.
        """
        if self._item.amount != per_second:
            self._item = RateLimitItemPerSecond(per_second)
        if self._limiter.hit(self._item, name):
            return None
        free_at, _ = self._limiter.get_window_stats(self._item, name)
        return (int((free_at - self._monotonic()) * 1000) + 1) * _MILLISECOND

    def __len__(self) -> int:
        """How many names are held: those of the last second, and some yet to be dropped."""
        return len(self._windows)


class _Windows(Storage, MovingWindowSupport):
    """When what passed did, by name. All windows are `_WINDOW_S` long.

    Names stand in the order of their last request that passed, so those whose window is over come
    first.
    """

    STORAGE_SCHEME = None

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._passed: OrderedDict[str, list[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._monotonic()
        self._drop(now - expiry)
        passed = self._since(now - expiry, key)
        if len(passed) + amount > limit:
            return False
        passed.extend([now] * amount)
        self._passed[key] = passed
        self._passed.move_to_end(key)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002
        now = self._monotonic()
        passed = self._since(now - expiry, key)
        return (passed[0] if passed else now), len(passed)

    def _since(self, begin: float, key: str) -> list[float]:
        """When what passed after `begin` did, oldest first."""
        passed = self._passed.get(key, [])
        del passed[: bisect_right(passed, begin)]
        return passed

    def _drop(self, begin: float) -> None:
        """Forgets names of which nothing passed after `begin`, a few at a time."""
        for _ in range(_DROPPED_A_HIT):
            first = next(iter(self._passed.values()), None)
            if first is None or (first and first[-1] > begin):
                return
            self._passed.popitem(last=False)

    def clear(self, key: str) -> None:
        self._passed.pop(key, None)

    def reset(self) -> int:
        held = len(self._passed)
        self._passed.clear()
        return held

    def check(self) -> bool:
        return True

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    # What counters need, of which a moving window makes no use.

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError
