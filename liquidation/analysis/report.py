"""What a decision log says in sum: read line by line, held in bounded memory.

A decision is a line `decision`, or a `claim` of which a caller asked for the begin. A begin whose
`request_id` was known is an answer that was given before, and is not counted again.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from heapq import heappush, heapreplace
from typing import Any, Final

from liquidation.analysis.tallies import Latencies, Names, Numbers, Series, Tally
from liquidation.rules.numbers import EXACT, MAX_INT64, ZERO

__all__ = ["Report", "Slow", "amount_of", "is_decision", "text_of", "time_us", "whole_of"]

# Decisions that are told because they were slow.
_SLOWEST: Final = 20
# Versions of rules and codes that are told apart; others are counted under one name.
_MAX_KINDS: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Times that can be drawn, wide slots around them included.
_YEARS: Final = range(1971, 9000)
# A product of two numbers, or a sum of such.
_AMOUNT: Final = re.compile(r"[0-9]{1,60}(?:\.[0-9]{1,60})?").fullmatch
_CODES: Final = range(-9999, 1)
_OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, order=True)
class Slow:
    """A decision that took long."""

    latency_us: int
    timestamp: str
    decision_id: str
    rpc: str
    code: int
    account_id: str
    liquidator_id: str


class Report:
    """Takes in a log's lines, in any order, and holds what is to be told of them."""

    def __init__(self) -> None:
        self.lines = 0
        self.lost = 0
        self.faults = 0
        self.first = ""
        self.last = ""
        self.all = Tally()
        self.accepted = Tally()
        self.codes: dict[int, Tally] = {}
        self.code_names: dict[int, str] = {}
        self.rules: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.samples: Counter[str] = Counter()
        self.series = Series()
        self.latencies = Latencies()
        self.accounts = Names()
        self.liquidators = Names()
        self.numbers = Numbers()
        self._slowest: list[Slow] = []

    @property
    def refused_notional(self) -> Decimal:
        """USDC of all that was refused."""
        return EXACT.subtract(self.all.notional, self.accepted.notional)

    def slowest(self) -> list[Slow]:
        """The decisions that took longest, the slowest first."""
        return sorted(self._slowest, reverse=True)

    def add(self, line: Mapping[str, Any]) -> None:
        """Takes in one line, whatever stands in it."""
        self.lines += 1
        event = line.get("event")
        if event == "log_lines_lost":
            self.lost += whole_of(line, "lost")
        elif event == "fault":
            self.faults += 1
        process, seq = text_of(line, "process"), whole_of(line, "seq")
        if process and seq > 0:
            self.numbers.add(process, seq)
        if event == "claim":
            self._count_change(line)
        if is_decision(line):
            self._add_decision(line)

    def _count_change(self, line: Mapping[str, Any]) -> None:
        if line.get("outcome") == "accepted" and line.get("known") is not True:
            _count(self.changes, text_of(line, "change"))

    def _add_decision(self, line: Mapping[str, Any]) -> None:
        if "sample" in line:
            _count(self.samples, text_of(line, "sample"))
        code, notional = _code(line), amount_of(line, "total_notional")
        refused = code != 0
        self.all.add(refused=refused, notional=notional)
        if not refused:
            self.accepted.add(refused=False, notional=notional)
        self.codes.setdefault(code, Tally()).add(refused=refused, notional=notional)
        self.code_names.setdefault(code, text_of(line, "name"))
        if refused:
            _count(self.rules, text_of(line, "rule"))
        _count(self.versions, text_of(line, "rules_version"))
        for names, key in ((self.accounts, "account_id"), (self.liquidators, "liquidator_id")):
            if name := text_of(line, key):
                names.add(name, refused=refused, notional=notional)
        self._add_time(line, code, notional)
        self._add_latency(line, code)

    def _add_time(self, line: Mapping[str, Any], code: int, notional: Decimal) -> None:
        timestamp = text_of(line, "timestamp")
        moment = time_us(timestamp)
        if moment is None:
            return
        self.first = min(self.first or timestamp, timestamp)
        self.last = max(self.last, timestamp)
        self.series.add(moment, code, notional)

    def _add_latency(self, line: Mapping[str, Any], code: int) -> None:
        latency = whole_of(line, "latency_us")
        self.latencies.add(latency)
        if len(self._slowest) == _SLOWEST and latency <= self._slowest[0].latency_us:
            return
        slow = Slow(
            latency,
            text_of(line, "timestamp"),
            text_of(line, "decision_id"),
            text_of(line, "rpc"),
            code,
            text_of(line, "account_id"),
            text_of(line, "liquidator_id"),
        )
        if len(self._slowest) < _SLOWEST:
            heappush(self._slowest, slow)
        else:
            heapreplace(self._slowest, slow)


def is_decision(line: Mapping[str, Any]) -> bool:
    """Whether a line tells a decision that was made for it."""
    event = line.get("event")
    if event == "decision":
        return True
    return event == "claim" and line.get("change") == "begin" and line.get("known") is not True


def text_of(line: Mapping[str, Any], key: str) -> str:
    """The text of a key; "" where there is none."""
    value = line.get(key)
    return value if isinstance(value, str) else ""


def whole_of(line: Mapping[str, Any], key: str) -> int:
    """The whole number of a key, from 0 to the largest of an int64; 0 where there is none."""
    value = line.get(key)
    return value if isinstance(value, int) and 0 <= value <= MAX_INT64 else 0


def amount_of(line: Mapping[str, Any], key: str) -> Decimal:
    """The amount of a key, exactly; 0 where there is none."""
    text = text_of(line, key)
    return Decimal(text) if _AMOUNT(text) else ZERO


def time_us(timestamp: str) -> int | None:
    """Microseconds since the Unix epoch of a line's `timestamp`; None where it is no time."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def _code(line: Mapping[str, Any]) -> int:
    code = line.get("code")
    return code if isinstance(code, int) and code in _CODES else -1000


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _MAX_KINDS else _OTHERS] += 1
