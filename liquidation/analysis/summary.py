"""Counts what a log holds: by code, rule, caller and time, with latencies and lost lines.

One pass, and bounded memory whatever the log holds: if there are more names than room, those with
the fewest lines are counted together, and the summary says so.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from heapq import heappush, heapreplace
from itertools import compress
from operator import itemgetter
from typing import Any, Final

from liquidation.analysis.counters import (
    DAY_US,
    EPOCH,
    HOUR_US,
    MINUTE_US,
    Count,
    Latencies,
    SequenceNumbers,
    TimeSeries,
    TopK,
    parse_amount,
)
from liquidation.analysis.reader import Fields, code_of, int_of, is_decision, text_of
from liquidation.rules.numbers import EXACT, MAX_INT64, ZERO, plain

Record = dict[str, Any]

BUCKETS: Final = {"1m": MINUTE_US, "1h": HOUR_US, "1d": DAY_US}
# Buckets of time; if there are more, they become wider.
_MAX_BUCKETS: Final = 20_000
# Names of what there are few of, such as rules.
_FEW: Final = 1_000
# Groups of lines that are alike but for the caller; with more they are counted and begun anew.
_MAX_GROUPS: Final = 20_000
# Gaps, and notes of lost lines, that are listed one by one.
_LISTED: Final = 1_000
# Numbered lines that are counted at once.
_AT_ONCE: Final = 512
# What is counted of a numbered line.
_ROW: Final = itemgetter(
    "name", "rule", "rpc", "process",
    "outcome", "account_id", "liquidator_id", "timestamp",
    "code", "worker", "latency_us", "seq",
)  # fmt: skip
_Row = tuple[str, str, str, str, str, str, str, str, int, int, int, int]
# Code, worker, name, rule, rpc, outcome, and the time up to the bucket.
_Group = tuple[int, int, str, str, str, str, str]

# Decisions that are listed because they were slow.
_SLOWEST: Final = 20
# What is said of each of them.
_TOLD: Final = ("timestamp", "decision_id", "rpc", "account_id", "liquidator_id")
# Versions of rules, changes of claims and samples that are told apart.
_MAX_KINDS: Final = 50


class Summary:
    """What the lines that were added so far say, only those that are `wanted`.

    Lost lines are looked for among all lines: what is not wanted is not lost. `unlike` counts lines
    that lack what a line of their event has.
    """

    def __init__(self, series: TimeSeries, wanted: Callable[[Fields], bool] | None = None) -> None:
        self.series = series
        self._wanted = wanted
        self._rows: list[_Row] = []
        self._groups: Counter[_Group] = Counter()
        self.codes = TopK(_FEW)
        self.rules = TopK(_FEW)
        self.rpcs = TopK(_FEW)
        self.workers = TopK(_FEW)
        self.accounts = TopK()
        self.liquidators = TopK()
        self.notes = TopK(_FEW)
        self.latencies = Latencies()
        self.numbers = SequenceNumbers()
        self.lost: list[Record] = []
        self.lost_in_all = 0
        self.samples: Counter[str] = Counter()
        self.first = self.last = ""
        self.unlike = 0

    @property
    def all(self) -> Count:
        """All lines that were counted."""
        return self.codes.all

    def add(self, fields: Fields) -> None:
        """Counts one line, whatever stands in it; `count` has to follow the last."""
        if self._wanted is not None and not self._wanted(fields):
            process, seq = fields.get("process"), fields.get("seq")
            if isinstance(process, str) and isinstance(seq, int):
                self.numbers.add(process, seq)
            return
        # Rows and not lines wait: a line that waits is work for the garbage collector.
        try:
            self._rows.append(_ROW(fields))
        except KeyError:
            self._add_other(fields)
        if "sample" in fields:
            _count(self.samples, str(fields["sample"]))
        if len(self._rows) >= _AT_ONCE:
            self._count_rows()

    def count(self) -> None:
        """Counts what waits; the figures are complete then."""
        self._count_rows()
        self._fold()

    def _add_other(self, fields: Fields) -> None:
        """Counts a line that has not all that a decision has."""
        try:
            if "seq" not in fields:
                self._add_note(fields)
            else:
                # Who opens a liquidation is no liquidator.
                self._rows.append(_ROW({"account_id": "", "liquidator_id": "", **fields}))
        except (TypeError, KeyError, ValueError):
            self.unlike += 1

    def _add_note(self, fields: Fields) -> None:
        event = fields["event"]
        if event == "log_lines_lost":
            lost = int(fields["lost"])
            self.lost_in_all += lost
            if len(self.lost) < _LISTED:
                note = {key: str(fields.get(key, "")) for key in ("timestamp", "process")}
                self.lost.append(note | {"lost": lost})
        self.notes.add(event)

    def _count_rows(self) -> None:
        """Counts what waits, all at once; if something is unlike the rest, one by one."""
        rows, self._rows = self._rows, []
        try:
            self._count(rows)
        except (TypeError, AttributeError):
            for row in rows:
                try:
                    self._count([row])
                except (TypeError, AttributeError):
                    self.unlike += 1

    def _count(self, rows: list[_Row]) -> None:
        """Counts rows, or raises before anything is counted."""
        if not rows:
            return
        *kind, outcomes, accounts, liquidators, times, codes, workers, latencies, seqs = zip(
            *rows, strict=True
        )
        names, rules, rpcs, processes = kind
        for numbers in (codes, workers, latencies, seqs):
            _require_types(numbers, int)
        for texts in (*kind, outcomes, accounts, liquidators, times):
            _require_types(texts, str)
        prefix = self.series.prefix
        buckets = [time[:prefix] for time in times]
        self._groups.update(zip(codes, workers, names, rules, rpcs, outcomes, buckets, strict=True))
        for process, seq in zip(processes, seqs, strict=True):
            self.numbers.add(process, seq)
        # A lease that ran out was nobody's call, and took no time.
        self.latencies.add_all(list(compress(latencies, rpcs)))
        refused = [outcome == "refused" for outcome in outcomes]
        self.accounts.add_all(accounts, list(compress(accounts, refused)))
        self.liquidators.add_all(liquidators, list(compress(liquidators, refused)))
        self.first = min(self.first or times[0], *times)
        self.last = max(self.last, *times)
        if len(self._groups) > _MAX_GROUPS:
            self._fold()

    def _fold(self) -> None:
        """Counts the groups by each of what they have in common, and begins anew."""
        for (code, worker, name, rule, rpc, outcome, time), lines in self._groups.items():
            refused = lines if outcome == "refused" else 0
            self.codes.add(_code_and_name(code, name), lines, refused)
            if rule:
                self.rules.add(rule, lines, refused)
            self.rpcs.add(rpc, lines, refused)
            self.workers.add(str(worker), lines, refused)
            self.series.add(time, code, lines)
        self._groups.clear()


def counted_series(bucket: str) -> TimeSeries:
    """`BUCKETS` of time of this width or, if there are too many, wider; empty ones are left out."""
    widths = [width for width in BUCKETS.values() if width >= BUCKETS[bucket]]
    return TimeSeries(widths, _MAX_BUCKETS, dense=False)


def summary_record(summary: Summary, top: int) -> Record:
    """All that was counted, as a JSON object; `top` names of each kind."""
    summary.count()
    lines, latencies, series = summary.all, summary.latencies, summary.series
    codes = _ranked(summary.codes, "code", top)
    for row in codes["rows"]:
        code, _, name = row.pop("code").partition(" ")
        row |= {"code": int(code), "name": name}
    return {
        **shares(lines.lines, lines.refused),
        "from": summary.first,
        "until": summary.last,
        "latency_us": {
            "count": latencies.count,
            **{f"p{percent}": latencies.percentile(percent) for percent in ("50", "90", "99")},
            "max": latencies.largest,
            "relative_error": latencies.relative_error,
        },
        "codes": codes,
        "rules": _ranked(summary.rules, "rule", top),
        "rpcs": _ranked(summary.rpcs, "rpc", top),
        "liquidators": _ranked(summary.liquidators, "liquidator_id", top),
        "accounts": _ranked(summary.accounts, "account_id", top),
        "workers": _ranked(summary.workers, "worker", top),
        "bucket": next(name for name, width in BUCKETS.items() if width == series.width_us),
        "times": [
            {
                "from": f"{EPOCH + timedelta(microseconds=begin):%Y-%m-%dT%H:%M:%SZ}",
                **shares(bucket.lines, bucket.refused_lines),
            }
            for begin, bucket in series.buckets()
        ],
        "notes": _ranked(summary.notes, "event", _FEW),
        "lost": _lost_record(summary),
        "sampled": summary.samples.total(),
        "unlike": summary.unlike,
    }


def shares(lines: int, refused: int) -> Record:
    """How many lines, how many of them refused, and which share that is, with four decimals."""
    share = plain(round(Decimal(refused) / lines, 4)) if lines else "0"
    return {"lines": lines, "refused": refused, "refused_share": share}


def _ranked(names: TopK, key: str, most: int) -> Record:
    """The `most` largest, and all others together; `distinct` is None if it is not known."""
    top = names.top(most)
    lines = names.all.lines - sum(count.lines for _, count in top)
    refused = names.all.refused - sum(count.refused for _, count in top)
    return {
        "rows": [{key: name, **shares(count.lines, count.refused)} for name, count in top],
        "others": shares(lines, refused),
        "distinct": None if names.may_lack else len(names),
        "may_lack": names.may_lack,
    }


def _lost_record(summary: Summary) -> Record:
    numbers = summary.numbers
    gaps = [
        {"process": process, "first": first, "last": last, "lines": last - first + 1}
        for process, first, last in numbers.gaps()
    ]
    return {
        "processes": numbers.processes,
        "missing": numbers.missing,
        "gaps": gaps[:_LISTED],
        "gaps_in_all": len(gaps),
        "twice": numbers.twice,
        "not_followed": numbers.not_followed,
        "told": summary.lost,
        "told_in_all": summary.lost_in_all,
    }


def _code_and_name(code: int, name: str) -> str:
    return f"{code} {name}".rstrip()


def _require_types(values: Iterable[object], kind: type) -> None:
    if set(map(type, values)) != {kind}:
        raise TypeError(f"a {kind.__name__} is none")


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _MAX_KINDS else "others"] += 1


@dataclass(frozen=True, slots=True, order=True)
class SlowDecision:
    """A decision that took long."""

    latency_us: int
    timestamp: str
    decision_id: str
    rpc: str
    code: int
    account_id: str
    liquidator_id: str


class Report(Summary):
    """A summary of decisions alone, with amounts, the slowest, and what became of claims."""

    def __init__(self) -> None:
        super().__init__(TimeSeries(), lambda line: is_decision(line) or "seq" not in line)
        self.lines = 0
        self.versions: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.accepted_notional = ZERO
        self._slowest: list[SlowDecision] = []

    def slowest(self) -> list[SlowDecision]:
        """The decisions that took longest, the slowest first."""
        return sorted(self._slowest, reverse=True)

    def add(self, fields: Fields) -> None:
        """Counts one line, whatever stands in it; `count` has to follow the last."""
        self.lines += 1
        super().add(fields)
        accepted = fields.get("outcome") == "accepted"
        if fields.get("event") == "claim" and accepted and fields.get("known") is not True:
            _count(self.changes, text_of(fields, "change"))
        if is_decision(fields):
            _count(self.versions, text_of(fields, "rules_version"))
            self._add_notional(fields)
            self._add_latency(fields)

    def _add_notional(self, fields: Fields) -> None:
        notional = parse_amount(text_of(fields, "total_notional"))
        if not notional:
            return
        code = code_of(fields)
        self.codes.add(_code_and_name(code, text_of(fields, "name")), 0, 0, notional)
        self.accounts.add(text_of(fields, "account_id"), 0, 0, notional)
        self.liquidators.add(text_of(fields, "liquidator_id"), 0, 0, notional)
        self.series.add(text_of(fields, "timestamp"), code, 0, notional)
        if code == 0:
            self.accepted_notional = EXACT.add(self.accepted_notional, notional)

    def _add_latency(self, fields: Fields) -> None:
        latency_us = int_of(fields, "latency_us", range(MAX_INT64 + 1), 0)
        if len(self._slowest) == _SLOWEST and latency_us <= self._slowest[0].latency_us:
            return
        time, decision_id, rpc, account, liquidator = (text_of(fields, key) for key in _TOLD)
        slow = SlowDecision(
            latency_us, time, decision_id, rpc, code_of(fields), account, liquidator
        )
        if len(self._slowest) < _SLOWEST:
            heappush(self._slowest, slow)
        else:
            heapreplace(self._slowest, slow)
