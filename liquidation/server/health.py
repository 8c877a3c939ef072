"""Keeps every entry of health true."""

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from liquidation.config.watched_file import Reloadable
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.server.lease_reaper import Answer, LeaseReaper
from liquidation.store.base import Store, StoreUnavailableError
from liquidation.transport.health import HealthTable

# How often the store is asked whether it answers, in seconds.
PROBE_S: Final = 0.5

# The health entry of the process itself, for those who restart one that hangs.
LIVE: Final = "live"
_STORE: Final = "store"
_OVERALL: Final = ""


class Health:
    """Decides every entry of health, and sets it in the table that callers are shown.

    A service serves exactly while the store answers what the service asks of it: reads, and for
    one that changes something writes too; the overall entry and `store` while it answers both. Each
    file that is read again when it changes has an entry of its own, which turns with it alone.
    """

    def __init__(
        self,
        store: Store,
        timeout_s: float,
        reaper: LeaseReaper,
        files: Sequence[Reloadable],
        table: HealthTable,
        services: Mapping[str, bool],
        log: DecisionLog,
        instruments: Instruments,
    ) -> None:
        """`services` are the names of the services, and whether each writes to the store.

        `timeout_s` is how long the store may take to answer, in seconds.
        """
        self._store = store
        self._timeout_s = timeout_s
        self._reaper = reaper
        self._files = files
        self._table = table
        self._services = {**services, _OVERALL: True}
        self._log = log
        self._instruments = instruments
        self._shown: dict[str, bool] = {}
        self._pending: Answer[None] | Answer[int] | None = None
        self._unread = ""
        self._lock = threading.Lock()
        self._ended = False

    def refresh(self) -> None:
        """Asks the store once, and looks at the files; reports what has changed."""
        self._ask_store()
        with self._lock:
            if not self._ended:
                self._show_all()

    def end(self) -> None:
        """Says that nothing is served any more, and ends all watches; nothing is shown after."""
        with self._lock:
            self._ended = True
            self._instruments.serves(False)  # noqa: FBT003 - it is the value itself
            self._table.end()

    def _ask_store(self) -> None:
        """Asks unless the last question is still unanswered: questions must not pile up."""
        if self._pending is not None and not self._pending.is_there:
            return
        probe: Answer[None] = Answer(self._timeout_s)
        count: Answer[int] = Answer(self._timeout_s)
        try:
            self._pending = probe
            self._store.probe(probe.take)
            probe.wait()
            self._pending = count
            self._store.count_active(count.take)
            self._instruments.claims_active(count.wait())
        except StoreUnavailableError as error:
            self._unread = str(error)
        else:
            self._unread = ""

    def _show_all(self) -> None:
        unread = self._unread
        problem = unread or self._reaper.problem
        if problem and self._shown.get(_STORE, True):
            self._log.store_failed(problem)
        elif not problem and self._shown.get(_STORE) is False:
            self._log.note("info", "store_available")
        for name, writes in self._services.items():
            self._show(name, serving=not (problem if writes else unread))
        self._instruments.serves(not problem)
        self._show(LIVE, serving=True)
        self._tell(_STORE, problem)
        for each in self._files:
            self._tell(each.name, each.problem)

    def _tell(self, name: str, problem: str) -> None:
        if problem:
            self._table.problems[name] = problem
        else:
            self._table.problems.pop(name, None)
        self._show(name, serving=not problem)

    def _show(self, name: str, *, serving: bool) -> None:
        if self._shown.get(name) is not serving:
            self._shown[name] = serving
            self._table.set(name, serving)
