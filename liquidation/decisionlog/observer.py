"""Who counts what the decision log is told.

The log is the one place that every decision goes through, so what is counted by an observer of it
and what stands in it are the same by construction.
"""

from enum import Enum
from typing import Final

# Every event that a line may have, but for `log_lines_lost`, which the sink writes itself.
EVENTS: Final = (
    "decision", "claim", "liquidation",
    "serving", "worker_serving", "rules", "draining", "stopped",
    "store_unavailable", "store_available", "store_failed", "settling_failed",
    "fault", "log_reopened", "log_not_reopened", "reloaded", "reload_failed",
    "rules_version_reused", "calls_shed", "transport_fallback",
)  # fmt: skip


class ClaimEnd(Enum):
    """How a claim ended; values as they are counted."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FORCED = "forced"
    EXPIRED = "expired"


class Observer:
    """Is told what happens, as it happens and on any thread; this one counts nothing.

    No method may wait or raise: it is called between a decision and its answer. One that does not
    count need not be told of each decision, line and call.
    """

    counts = False

    def decided(self, rpc: str, code: int, rule: str, seconds: float) -> None:
        """A decision was made, `seconds` after its call began; accepted, it has code 0, rule "".

        Also one whose line is left out by sampling; not an answer that was given before.
        """

    def shadow_refused(self, rule: str) -> None:
        """A rule in mode `shadow` would have refused."""

    def disagreed(self, kind: str) -> None:
        """The candidate rules decided otherwise; `kind` is a value of `lines.Disagreement`."""

    def claim_begun(self) -> None:
        """A claim was granted, and not one that was known."""

    def claim_ended(self, how: ClaimEnd) -> None:
        """An active claim ended; once for each, however often it is asked for."""

    def liquidation(self, change: str) -> None:
        """A liquidation was `opened` or `closed`, or a call to do so was `refused`."""

    def store_failed(self) -> None:
        """The store did not answer: a call, the probe or the background."""

    def faulted(self) -> None:
        """There was an error that is nobody's answer."""

    def line(self, event: str) -> None:
        """A line was handed to the sink, which may still have to drop it."""

    def called(self, rpc: str, code: int, seconds: float) -> None:
        """A unary call was answered: with a message, which is code 0, or with a refusal."""
