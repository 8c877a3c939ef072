"""Counts what a log holds: by code, rule, caller and time, with latencies and lost lines.

One pass, and bounded memory whatever the log holds: where there are more names than room, those
that were met least are counted together, and the summary says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import compress
from operator import itemgetter
from typing import Any, Final

from liquidation.analysis.counts import Counts, LatencyCounts, shares
from liquidation.analysis.reader import Filter
from liquidation.analysis.tallies import Numbers

__all__ = ["BUCKETS", "Record", "Summary"]

Record = dict[str, Any]

# Characters of a timestamp that name the minute, the hour and the day.
BUCKETS: Final = {"1m": 16, "1h": 13, "1d": 10}
_BEGINS: Final = {16: ":00Z", 13: ":00:00Z", 10: "T00:00:00Z"}

# Names of what there are few of, such as rules.
_FEW: Final = 1_000
# Groups of lines that are alike but for the caller; with more they are counted and begun anew.
_MAX_GROUPS: Final = 20_000
# Buckets of time; with more, they become wider.
_MAX_TIMES: Final = 20_000
# Gaps, and notes of lost lines, that are told one by one.
_TOLD: Final = 1_000

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


class Summary:
    """What the lines that were added so far say, those alone that `wanted` asks for.

    Lost lines are looked for among all lines: what is not asked for is not lost.
    """

    def __init__(self, bucket: str = "1h", wanted: Filter | None = None) -> None:
        """`bucket` is one of `BUCKETS`; it widens where a log spans too many of them."""
        self._filter = None if wanted is None or wanted.all else wanted
        self._prefix = BUCKETS[bucket]
        self._rows: list[_Row] = []
        self._groups: Counter[_Group] = Counter()
        self._codes = Counts(_FEW)
        self._rules = Counts(_FEW)
        self._rpcs = Counts(_FEW)
        self._workers = Counts(_FEW)
        self._times: dict[str, list[int]] = {}
        self._accounts = Counts()
        self._liquidators = Counts()
        self._latencies = LatencyCounts()
        self._numbers = Numbers()
        self._notes = Counts(_FEW)
        self._lost: list[Record] = []
        self._lost_in_all = 0
        self._first, self._last = "~", ""
        self._sampled = 0
        self.unlike = 0

    def add(self, fields: Mapping[str, Any]) -> None:
        """Counts one line. `unlike` counts those with an event of the log's and other contents."""
        if self._filter is not None and not self._filter.matches(fields):
            self._add_unwanted(fields)
            return
        # Rows and not lines wait: a line that waits is work for the garbage collector.
        try:
            self._rows.append(_ROW(fields))
        except KeyError:
            self._add_other(fields)
        if "sample" in fields:
            self._sampled += 1
        if len(self._rows) >= _AT_ONCE:
            self._count_rows()

    def _add_unwanted(self, fields: Mapping[str, Any]) -> None:
        process, seq = fields.get("process"), fields.get("seq")
        if isinstance(process, str) and isinstance(seq, int):
            self._numbers.add(process, seq)

    def _add_other(self, fields: Mapping[str, Any]) -> None:
        """Counts a line that has not all that a decision has."""
        try:
            if "seq" not in fields:
                self._add_note(fields)
            else:
                # Who opens a liquidation is no liquidator.
                self._rows.append(_ROW({"account_id": "", "liquidator_id": "", **fields}))
        except (TypeError, KeyError, ValueError):
            self.unlike += 1

    def _count_rows(self) -> None:
        """Counts what waits, all at once; where something is unlike the rest, one by one."""
        rows, self._rows = self._rows, []
        try:
            self._count(rows)
        except (TypeError, AttributeError):
            for row in rows:
                try:
                    self._count([row])
                except (TypeError, AttributeError):
                    self.unlike += 1

    def _count(self, rows: list["_Row"]) -> None:
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
        prefix = self._prefix
        buckets = [time[:prefix] for time in times]
        self._groups.update(zip(codes, workers, names, rules, rpcs, outcomes, buckets, strict=True))
        for process, seq in zip(processes, seqs, strict=True):
            self._numbers.add(process, seq)
        # A lease that ran out was nobody's call, and took no time.
        self._latencies.add_all(list(compress(latencies, rpcs)))
        refused = [outcome == "refused" for outcome in outcomes]
        self._accounts.add_all(accounts, list(compress(accounts, refused)))
        self._liquidators.add_all(liquidators, list(compress(liquidators, refused)))
        self._first = min(self._first, *times)
        self._last = max(self._last, *times)
        if len(self._groups) > _MAX_GROUPS:
            self._fold()

    def _fold(self) -> None:
        """Counts the groups by each of what they have in common, and begins anew."""
        for (code, worker, name, rule, rpc, outcome, time), lines in self._groups.items():
            down = lines if outcome == "refused" else 0
            self._codes.add(f"{code} {name}".rstrip(), lines, down)
            if rule:
                self._rules.add(rule, lines, down)
            self._rpcs.add(rpc, lines, down)
            self._workers.add(str(worker), lines, down)
            self._add_time(time, lines, down)
        self._groups.clear()

    def _add_time(self, time: str, lines: int, refused: int) -> None:
        counts = self._times.setdefault(time[: self._prefix], [0, 0])
        counts[0] += lines
        counts[1] += refused
        if len(self._times) > _MAX_TIMES and self._prefix > BUCKETS["1d"]:
            self._prefix = next(each for each in BUCKETS.values() if each < self._prefix)
            narrow, self._times = self._times, {}
            for each, (count, down) in narrow.items():
                self._add_time(each, count, down)

    def _add_note(self, fields: Mapping[str, Any]) -> None:
        event = fields["event"]
        lost = int(fields["lost"]) if event == "log_lines_lost" else 0
        self._notes.add(event, 1, 0)
        if event == "log_lines_lost":
            self._lost_in_all += lost
            if len(self._lost) < _TOLD:
                told = {key: str(fields.get(key, "")) for key in ("timestamp", "process")}
                self._lost.append(told | {"lost": lost})

    def record(self, top: int) -> Record:
        """All that was counted, as a JSON object; `top` names of each kind."""
        self._count_rows()
        self._fold()
        lines = sum(each[0] for each in self._times.values())
        refused = sum(each[1] for each in self._times.values())
        return {
            **shares(lines, refused),
            "from": self._first if lines else "",
            "until": self._last,
            "latency_us": self._latencies.record(),
            "codes": _with_code(self._codes.record("code", top)),
            "rules": self._rules.record("rule", top),
            "rpcs": self._rpcs.record("rpc", top),
            "liquidators": self._liquidators.record("liquidator_id", top),
            "accounts": self._accounts.record("account_id", top),
            "workers": self._workers.record("worker", top),
            "bucket": next(name for name, size in BUCKETS.items() if size == self._prefix),
            "times": [
                {"from": time + _BEGINS[self._prefix], **shares(*counts)}
                for time, counts in sorted(self._times.items())
            ],
            "notes": self._notes.record("event", _FEW),
            "lost": self._lost_record(),
            "sampled": self._sampled,
            "unlike": self.unlike,
        }

    def _lost_record(self) -> Record:
        gaps = [
            {"process": process, "first": first, "last": last, "lines": last - first + 1}
            for process, first, last in self._numbers.gaps()
        ]
        return {
            "processes": self._numbers.processes,
            "missing": sum(gap["lines"] for gap in gaps),
            "gaps": gaps[:_TOLD],
            "gaps_in_all": len(gaps),
            "twice": self._numbers.twice,
            "not_followed": self._numbers.not_followed,
            "told": self._lost,
            "told_in_all": self._lost_in_all,
        }


def _require_types(values: Iterable[object], kind: type) -> None:
    if set(map(type, values)) != {kind}:
        raise TypeError(f"a {kind.__name__} is none")


def _with_code(record: Record) -> Record:
    """With the code as a number, and its name beside it."""
    for row in record["rows"]:
        code, _, name = row.pop("code").partition(" ")
        row |= {"code": int(code), "name": name}
    return record
