"""What callers were answered, held against what they should be answered and against the log."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from tests.attacks.soak.asking import Ask

# The calls of which each, or each item, leaves exactly one line.
LOGGED: Final = frozenset(
    (
        "CheckClaim",
        "BatchCheckClaims",
        "StreamCheckClaims",
        "BeginClaim",
        "RenewClaim",
        "CompleteClaim",
        "CancelClaim",
    )
)
# How long after a server is back a client may still be told of a connection that broke.
_AFTERMATH_S: Final = 3.0
# Lines that one process may have in its buffer when it is killed: those of some milliseconds.
_IN_BUFFER: Final = 50
_TOLD: Final = 20


class Tally:
    """Counts answers as callers see them and lines as they are read, and notes what is wrong."""

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        # Calls, or items of streams and batches, that were answered, and that were not.
        self.answered: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.torn = 0
        self._wrong: list[str] = []
        self._wrongs = 0
        self._outages = 0
        self._outage_over = float("-inf")
        # By id of a decision: answers that had it, less lines. Where both came it is forgotten.
        self._open: Counter[str] = Counter()
        self._seq: Counter[str] = Counter()
        self._pids: dict[str, int] = {}

    def wrong(self, told: str) -> None:
        """Notes something that must not be."""
        self._wrongs += 1
        if len(self._wrong) < _TOLD:
            self._wrong.append(told)

    @property
    def calls(self) -> int:
        """Answers so far."""
        return sum(self.codes.values())

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Calls of this time need not be answered."""
        self._outages += 1
        try:
            yield
        finally:
            self._outages -= 1
            self._outage_over = time.monotonic() + _AFTERMATH_S

    def answer(self, ask: Ask, code: int, decision_ids: Iterable[str] = ()) -> None:
        """An answer: its code, and the ids of the decisions that it tells of."""
        self.codes[code] += 1
        self.answered[ask.rpc] += ask.items
        if code not in ask.codes:
            self.wrong(f"{ask.rpc} was answered with {code} in place of {ask.codes}")
        for decision_id in decision_ids:
            self._count(decision_id, 1)

    def no_answer(self, ask: Ask, sent: float, why: str) -> None:
        """A call that ended otherwise, which may be while a server is replaced."""
        self.unanswered[ask.rpc] += ask.items
        if not self._outages and sent > self._outage_over:
            self.wrong(f"{ask.rpc} was not answered: {why}")

    def cut_off(self, rpc: str) -> None:
        """A call whose caller went away."""
        self.unanswered[rpc] += 1

    def read(self, path: Path) -> None:
        """Counts the lines of a log to which nobody writes any more."""
        with path.open("rb") as file:
            for text in file:
                try:
                    line = orjson.loads(text)
                except orjson.JSONDecodeError:
                    self.torn += 1
                else:
                    self._line(line)

    def _line(self, line: dict[str, object]) -> None:
        process, event = str(line["process"]), str(line["event"])
        if event in ("fault", "log_lines_lost", "log_not_reopened"):
            self.wrong(f"the log has {event}: {line}"[:600])
        if event == "worker_serving":
            self._pids[process] = int(str(line["pid"]))
        if "seq" not in line:
            return
        self._seq[process] += 1
        if line["seq"] != self._seq[process]:
            self.wrong(f"{process} has {line['seq']} in place of {self._seq[process]}")
            self._seq[process] = int(str(line["seq"]))
        if event in ("decision", "claim"):
            self.lines[str(line["rpc"])] += 1
            self._count(str(line["decision_id"]), -1)

    def _count(self, decision_id: str, change: int) -> None:
        self._open[decision_id] += change
        if not self._open[decision_id]:
            del self._open[decision_id]

    def verdict(self, killed: AbstractSet[int]) -> list[str]:
        """What is wrong, once the whole log is read; `killed` had no time to write theirs out."""
        told = [*self._wrong]
        if self._wrongs > len(told):
            told.append(f"and {self._wrongs - len(told)} more")
        spare = _IN_BUFFER * len(killed)
        for rpc in sorted(LOGGED):
            least, most = self.answered[rpc], self.answered[rpc] + self.unanswered[rpc]
            if not least - spare <= self.lines[rpc] <= most:
                told.append(f"{rpc} has {self.lines[rpc]} lines for {least} to {most} calls")
        unlogged = [each for each, count in self._open.items() if count > 0]
        for decision_id in unlogged:
            pid = self._pids.get(decision_id.partition("-")[0])
            if pid not in killed:
                told.append(f"the decision {decision_id} was answered and left no line")
        if len(unlogged) > spare:
            told.append(f"{len(unlogged)} decisions left no line, over {len(killed)} kills")
        if self.torn > len(killed):
            told.append(f"{self.torn} lines are torn, over {len(killed)} kills")
        return told
