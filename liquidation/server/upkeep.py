"""What is done over and over beside the calls, and about the memory of the process."""

import ctypes
import gc
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from liquidation.api.services import Services
from liquidation.config import watched_file
from liquidation.config.live import LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.rules.policy import Policy, policy_record
from liquidation.server.health import PROBE_S, Health
from liquidation.server.lease_reaper import ROUND_S, LeaseReaper
from liquidation.store.base import Store
from liquidation.transport import HealthTable, Server

# How often it is checked how much memory the process holds, in seconds.
POLL_S: Final = 0.1
_STATM: Final = Path("/proc/self/statm")
# The share of the bound that answers may take which callers have not taken yet.
_ANSWERS: Final = 4


# How long the end of an action is waited for at most, in seconds: one that waits for a store must
# not hold up the drain.
_JOIN_S: Final = 0.5
_RULES = "rules"
_MIB: Final = 1 << 20


def freeze_gc() -> None:
    """Takes what was made at the start of a server out of Python's search for garbage.

    It stays as long as the process. To search it took 20 ms, once or twice in a second of full
    load, in which no call was answered: the p99 of 64 in flight was 28 ms in place of 14.
    """
    gc.collect()
    gc.freeze()
    # What the start took and freed is given back to the system.
    ctypes.CDLL(None).malloc_trim(0)


def most_untaken(max_memory_bytes: int) -> int:
    """Bytes that large answers may hold until their callers take them; 0 is no bound."""
    return max_memory_bytes // _ANSWERS


def _resident() -> int:
    """Bytes that this process holds in memory."""
    return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE


def _trim() -> None:
    """Gives back to the system what was freed; until then it counts as held."""
    ctypes.CDLL(None).malloc_trim(0)


class MemoryGuard:
    """Ends the calls that wait for their callers while the process holds too much."""

    def __init__(
        self,
        most_bytes: int,
        shed: Callable[[], int],
        log: DecisionLog,
        resident: Callable[[], int] = _resident,
        trim: Callable[[], object] = _trim,
    ) -> None:
        """`most_bytes` is what the process may hold without a call being ended.

        `shed` is the `Server.shed` of a transport: it spares the calls that have begun to wait
        since it was called last.
        """
        self._most_bytes = most_bytes
        self._shed = shed
        self._log = log
        self._resident = resident
        self._trim = trim

    def check(self) -> None:
        """Ends calls if too much is held, and reports how many."""
        held = self._resident()
        if held > self._most_bytes:
            self._trim()
            held = self._resident()
        if held <= self._most_bytes:
            return
        calls = self._shed()
        if calls:
            self._log.note("warning", "calls_shed", calls=calls, resident_bytes=held)


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


class ReloadReporter:
    """Reports each change of a file in the log and the metrics.

    No decision by new rules stands in the log before the line that tells of them, and whoever sees
    that line finds them in force.

    From any thread: files are polled on one, and read again at SIGHUP on another.
    """

    def __init__(self, log: DecisionLog, instruments: Instruments) -> None:
        self._log = log
        self._instruments = instruments
        self._lock = threading.Lock()
        self._versions: dict[str, Policy] = {}
        self._live: LiveConfig | None = None

    def begin(self, live: LiveConfig) -> None:
        """Reports the rules that the process begins with, and each file that is invalid by then.

        A worker may read its files again while it waits for the others to start.
        """
        with self._lock:
            self._live = live
            self._report_rules(live.policy())
            self._measure(live)
            for each in live.files:
                if each.problem:
                    self._report_problem(each.name, each.problem)

    def __call__(self, name: str, problem: str, take: Callable[[], None]) -> None:
        """Reports that the file was read again; `problem` says why it was not taken."""
        self._instruments.reloaded(name, problem)
        with self._lock, self._log.held():
            take()
            if self._live is None:
                return
            if problem:
                self._report_problem(name, problem)
                return
            policy = self._live.policy()
            self._log.note("info", "reloaded", file=name, rules_version=policy.version)
            if name == _RULES:
                self._report_rules(policy)
            self._measure(self._live)

    def _report_problem(self, name: str, problem: str) -> None:
        self._log.note("error", "reload_failed", file=name, problem=problem)

    def _measure(self, live: LiveConfig) -> None:
        rules = live.active_policy()
        candidate = None if rules.candidate is None else rules.candidate.version
        self._instruments.rules_in_force(rules.policy.version, candidate)
        certificates = live.certificates()
        not_after = None if certificates is None else certificates.not_after.timestamp()
        self._instruments.certificate(not_after)

    def _report_rules(self, policy: Policy) -> None:
        before = self._versions.setdefault(policy.version, policy)
        if before != policy:
            # Decisions name their version alone: whoever reads them later cannot tell the two.
            self._log.note("warning", "rules_version_reused", rules_version=policy.version)
            self._versions[policy.version] = policy
        self._log.note("info", _RULES, rules=policy_record(policy))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of beside its transport."""

    settings: Settings
    live: LiveConfig
    log: DecisionLog
    instruments: Instruments
    store: Store
    services: Services
    table: HealthTable


class Upkeep:
    """Goes on from `start` to `end`, each part of it on a thread of its own."""

    def __init__(self, parts: Parts, server: Server) -> None:
        settings, log = parts.settings, parts.log
        reaper = LeaseReaper(
            parts.store,
            settings.store_timeout,
            parts.services.log_expired,
            lambda: parts.live.policy().claims.retention_s,
            log,
        )
        self._health = Health(
            parts.store,
            settings.store_timeout,
            reaper,
            parts.live.files,
            parts.table,
            parts.services.writing,
            log,
            parts.instruments,
        )

        def fault(error: Exception) -> None:
            log.fault("", error)

        self._periodic = [
            Periodic("health", PROBE_S, self._health.refresh, fault),
            Periodic("lease-reaper", ROUND_S, reaper.reap, fault, at_once=True),
        ]
        if settings.max_memory:
            guard = MemoryGuard(settings.max_memory * _MIB, server.shed, log)
            self._periodic.append(Periodic("memory-guard", POLL_S, guard.check, fault))
        self._periodic += [
            Periodic(f"watch-{each.name}", watched_file.POLL_S, each.poll, fault)
            for each in parts.live.files
        ]

    def refresh_health(self) -> None:
        """Asks the store once, before the first caller asks for health."""
        self._health.refresh()

    def start(self) -> None:
        """Begins all of it."""
        for each in self._periodic:
            each.start()

    def end(self) -> None:
        """Ends all of it; from then on health says that nothing is served."""
        for each in self._periodic:
            each.stop()
        self._health.end()
