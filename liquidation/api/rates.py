"""How often each liquidator may ask: a moving window of a second.

The window is exact: in no second do more requests pass than the limit, and the first that may pass
does. A request costs 2 to 4 µs; names of which nothing passed in the last second are dropped by
later requests, a few at a time.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Final

_WINDOW_S: Final = 1
# Names dropped with each request. A request adds at most one, so two never fall behind, and they
# are few enough to cause no pause.
_DROPPED_A_REQUEST: Final = 2
_MILLISECOND: Final = Decimal("0.001")


class Rate:
    """Counts requests by name. It is for one thread."""

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
