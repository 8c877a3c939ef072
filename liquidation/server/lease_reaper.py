"""Reports leases that ran out, and forgets old claims."""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.model import Claim
from liquidation.store.base import Store, StoreUnavailableError

_R = TypeVar("_R")

# How much longer than the store itself is waited, in seconds: as a rule it says by itself that it
# is late, and why.
_LONGER_S: Final = 0.5
# How often leases that ran out are written down, in seconds; they are over before that.
ROUND_S: Final = 1.0
# Leases that are written down, and claims that are forgotten, in one transaction at most.
_MOST: Final = 500


class Answer(Generic[_R]):
    """The one answer of a store to a question, for a thread that may wait."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is how long the store may take by its own measure, in seconds."""
        self._timeout_s = timeout_s
        self._answered = threading.Event()
        self._result: _R | Exception | None = None

    def take(self, result: _R | Exception) -> None:
        """The answer, from any thread; it is a `store.base.Done`."""
        self._result = result
        self._answered.set()

    @property
    def is_there(self) -> bool:
        """Whether the store has answered."""
        return self._answered.is_set()

    def wait(self) -> _R:
        """What the store answered.

        Raises:
            StoreUnavailableError: it did not answer in time.
            Exception: what it answered instead of a result.
        """
        if not self._answered.wait(self._timeout_s + _LONGER_S):
            raise StoreUnavailableError(f"no answer within {self._timeout_s:g} s")
        if isinstance(self._result, Exception):
            raise self._result
        return self._result  # type: ignore[return-value] # None is an answer too, of such a type


class LeaseReaper:
    """Writes down leases that ran out and forgets old claims; each round asks the store to write.

    `problem` is why the last round could not, "" if it could.
    """

    def __init__(
        self,
        store: Store,
        timeout_s: float,
        log_expired: Callable[[Claim], None],
        retention_s: Callable[[], int],
        log: DecisionLog,
    ) -> None:
        """`log_expired` leaves the line of a claim, from any thread.

        `timeout_s` is how long the store may take, and `retention_s` how long ended claims are
        kept, both in seconds.
        """
        self._store = store
        self._timeout_s = timeout_s
        self._log_expired = log_expired
        self._retention_s = retention_s
        self._log = log
        self._pending: Answer[None] | Answer[int] | None = None
        self.problem = ""

    def reap(self) -> None:
        """One round; none while the store has not answered the last one."""
        if self._pending is not None and not self._pending.is_there:
            return
        try:
            self._expire()
            while self._purge() == _MOST:
                continue
        except StoreUnavailableError as error:
            self.problem = str(error)
            self._log.store_failed(self.problem, "settling_failed")
        else:
            self.problem = ""

    def _expire(self) -> None:
        answer: Answer[None] = Answer(self._timeout_s)
        self._pending = answer

        def expired(result: Sequence[Claim] | Exception) -> None:
            # Here, since an answer that comes too late to be waited for is told but once too.
            if isinstance(result, Exception):
                answer.take(result)
                return
            try:
                for claim in result:
                    self._log_expired(claim)
            except Exception as error:  # noqa: BLE001 - the thread that waits is told
                answer.take(error)
            else:
                answer.take(None)

        self._store.expire(_MOST, expired)
        answer.wait()

    def _purge(self) -> int:
        answer: Answer[int] = Answer(self._timeout_s)
        self._pending = answer
        self._store.purge(self._retention_s() * 1_000_000, _MOST, answer.take)
        return answer.wait()
