"""What a server does again and again beside answering calls."""

import threading
from collections.abc import Callable
from typing import Final

__all__ = ["Periodic"]

# How long the end of an action is waited for at most, in seconds: one that waits for a store must
# not hold up the drain.
_JOIN_S: Final = 0.5


class Periodic:
    """Runs an action on a daemon thread of its own, again and again, from `start` to `stop`.

    What the action raises is reported, and the next run comes as if it had not.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        action: Callable[[], object],
        on_fault: Callable[[Exception], object],
        *,
        at_once: bool = False,
    ) -> None:
        """`interval_s` is between the end of one run and the next, in seconds.

        The first run comes after it too, unless `at_once` is set.
        """
        self._interval_s = interval_s
        self._action = action
        self._on_fault = on_fault
        self._at_once = at_once
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins; once."""
        self._thread.start()

    def stop(self) -> None:
        """Lets no further run begin, and waits a moment for the one that is going on."""
        self._stopped.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        if self._at_once:
            self._act()
        while not self._stopped.wait(self._interval_s):
            self._act()

    def _act(self) -> None:
        try:
            self._action()
        except Exception as error:  # noqa: BLE001 - it goes on, and the fault is reported
            self._on_fault(error)
