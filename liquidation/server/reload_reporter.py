"""Tells what came of reading the server's files again."""

import threading
from collections.abc import Callable

from liquidation.config.live import LiveConfig
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.rules.policy import Policy, policy_record

__all__ = ["ReloadReporter"]

_RULES = "rules"


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
