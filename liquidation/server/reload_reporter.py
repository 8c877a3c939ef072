"""Tells what came of reading the server's files again."""

from liquidation.config.live import LiveConfig
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.rules.policy import Policy, policy_record

__all__ = ["ReloadReporter"]

_RULES = "rules"


class ReloadReporter:
    """Puts each change of a file into the log and the metrics, before anything is decided by it."""

    def __init__(self, log: DecisionLog, instruments: Instruments) -> None:
        self._log = log
        self._instruments = instruments
        self._versions: dict[str, Policy] = {}
        self._in_force: LiveConfig | None = None

    def begin(self, in_force: LiveConfig) -> None:
        """Tells the rules that the process begins with, and each file that is not sound by then.

        A worker may read its files again while it waits for the others to start.
        """
        self._in_force = in_force
        self._tell_rules(in_force)
        self._show(in_force)
        for each in in_force.files:
            if each.problem:
                self._tell_problem(each.name, each.problem)

    def __call__(self, name: str, problem: str) -> None:
        """Tells that the file was read again; `problem` says why it was not taken."""
        self._instruments.reloaded(name, problem)
        if self._in_force is None:
            return
        if problem:
            self._tell_problem(name, problem)
            return
        version = self._in_force.policy().version
        self._log.note("info", "reloaded", file=name, rules_version=version)
        if name == _RULES:
            self._tell_rules(self._in_force)
        self._show(self._in_force)

    def _tell_problem(self, name: str, problem: str) -> None:
        self._log.note("error", "reload_failed", file=name, problem=problem)

    def _show(self, in_force: LiveConfig) -> None:
        book, certificates = in_force.rulebook(), in_force.certificates()
        candidate = None if book.candidate is None else book.candidate.version
        self._instruments.rules_in_force(book.policy.version, candidate)
        not_after = None if certificates is None else certificates.not_after.timestamp()
        self._instruments.certificate(not_after)

    def _tell_rules(self, in_force: LiveConfig) -> None:
        policy = in_force.policy()
        before = self._versions.setdefault(policy.version, policy)
        if before != policy:
            # Decisions name their version alone: whoever reads them later cannot tell the two.
            self._log.note("warning", "rules_version_reused", rules_version=policy.version)
            self._versions[policy.version] = policy
        self._log.note("info", _RULES, rules=policy_record(policy))
