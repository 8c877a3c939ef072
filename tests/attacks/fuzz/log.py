"""A log of any content: every line is read once or told as broken, and what is read is counted."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from liquidation.analysis.reader import Broken, Entry, Lines, Reader
from liquidation.analysis.redecide import RulesInForce
from liquidation.analysis.replay import Replay
from liquidation.analysis.search import find_trail
from liquidation.analysis.summary import Report, Summary, counted_series, summary_record
from liquidation.rules.policy import Policy, read_policy
from tests.attacks.fuzz.in_process import InProcess
from tests.attacks.fuzz.rpc import CONFIGURATIONS
from tests.attacks.fuzz.seeds import seeds as calls
from tests.attacks.fuzz.steps import input_of, pieces
from tests.attacks.fuzz.target import Look, Target

_GZIP: Final = b"\x1f\x8b"
_CANDIDATE: Final = read_policy('version = "2"\n[tiers.low]\nmin_claim_notional = 40000\n')
_NOTES: Final = (
    {"event": "serving", "pid": 7},
    {"event": "log_lines_lost", "lost": 3},
    {"event": "fault", "decision_id": "fuzz-1", "traceback": "Traceback"},
    {"event": "rules", "rules": {"version": "built-in"}},
    {"event": "rules", "rules": {"version": 7, "modes": {"limit_price": "off"}}},
)


@contextmanager
def _opened(directory: Path) -> Iterator[Look]:
    path = directory / "decisions.log"

    def look(data: bytes) -> None:
        path.write_bytes(data)
        broken: list[Broken] = []
        reader = Reader([path], broken.append)
        entries = list(reader)
        assert reader.broken == len(broken)
        if not data.startswith(_GZIP):
            _account_for(data, entries, broken)
            _cut_elsewhere(data, path, entries, broken)
        _count(entries)
        _replay(entries)
        _tell(entries)

    yield look


def _account_for(data: bytes, entries: list[Entry], broken: list[Broken]) -> None:
    """Each line that is not empty is there, and none is there twice."""
    lines = {number: line for number, line in enumerate(data.split(b"\n"), 1) if line.strip()}
    read, told = [each.line for each in entries], [each.line for each in broken]
    assert len(set(read)) == len(read)
    assert len(set(told)) == len(told)
    assert {*read, *told} == lines.keys()
    for entry in entries:
        assert lines[entry.line].endswith(entry.raw)
        assert entry.line in told or entry.raw == lines[entry.line]
        assert isinstance(entry.fields["event"], str)


def _cut_elsewhere(data: bytes, path: Path, entries: list[Entry], broken: list[Broken]) -> None:
    """The same is read in whatever pieces the bytes come."""
    size = 1 + sum(data[:8]) % 61
    told: list[Broken] = []
    lines = Lines(str(path), told.append)
    read: list[Entry] = []
    for start in range(0, len(data), size):
        read += lines.feed(data[start : start + size])
    read += lines.end()
    assert read == entries
    assert told == broken


def _count(entries: list[Entry]) -> None:
    """Each entry is counted once: as a decision, as a note, or as unlike both."""
    summary, report = Summary(counted_series("1m")), Report()
    for entry in entries:
        summary.add(entry.fields)
        report.add(entry.fields)
    record = summary_record(summary, 3)
    orjson.dumps(record)
    notes = sum(each["lines"] for each in record["notes"]["rows"])
    assert record["lines"] + notes + record["unlike"] == len(entries), record
    assert report.lines == len(entries)
    assert report.lines <= len(entries)
    assert len(report.slowest()) <= len(entries)


def _replay(entries: list[Entry]) -> None:
    """Each decision agrees, disagrees, is left out with a reason, or could not be decided."""
    replay = Replay(RulesInForce(Policy()), _CANDIDATE)
    for entry in entries:
        replay.rules.expect(entry)
    for entry in entries:
        replay.add(entry)
    left_out = sum(replay.left_out.values())
    failed = sum(replay.failed.values())
    decided = replay.agreed + replay.disagreed
    masked = replay.left_out["ids that the rules look at are masked"]
    assert decided + left_out + failed == replay.decisions
    assert decided + masked <= replay.compared
    assert sum(replay.matrix.values()) == replay.compared
    orjson.dumps(replay.record(0))


def _tell(entries: list[Entry]) -> None:
    """The story of whatever the first line that has an id is about."""
    for entry in entries:
        wanted = entry.fields.get("decision_id") or entry.fields.get("claim_id")
        if isinstance(wanted, str):
            find_trail(lambda: entries, wanted)
            return


def _seeds() -> Iterable[bytes]:
    lines = [*_real_lines()]
    yield from lines
    for note in _NOTES:
        head = {"timestamp": "2026-11-22T12:00:00.000000Z", "level": "info"}
        yield json.dumps(head | note | {"process": "fuzz", "worker": 0}).encode() + b"\n"
    first, second, *_ = sorted(lines, key=len)
    yield first + first
    yield first[:100] + second + b"\n\n" + first[:-1]
    yield from (b"", b"\n \n", b"{}", b"[]\n", b"\xff\n", b"nul")
    yield from (b'{"event": 1}\n', b'{"event": "x"}')
    yield from (_GZIP, _GZIP + b"\x08\x00" + bytes(20))


def _real_lines() -> Iterator[bytes]:
    """What the service writes about the calls that the target `rpc` begins with."""
    with TemporaryDirectory() as directory:
        service = InProcess(Path(directory), CONFIGURATIONS)
        for data in calls():
            service.forget()
            rules, steps = input_of(data)
            for step in steps:
                if step.method is None:
                    continue
                many = step.method.client_streaming
                requests = list(pieces(step.payload)) if many else [step.payload]
                yield from service.call(rules % len(CONFIGURATIONS), step.method, requests).lines
        service.close()


TARGET: Final = Target(
    _opened,
    _seeds,
    longest=8192,
    words=(
        *(b'{"timestamp":"', b'"event":"decision"', b'"event":"claim"', b'"event":"rules"', b"\n"),
        *(b'"known":true', b'"seq":', b'"masked":', b'"outcome":"refused"', b'"lost":'),
        *(b'"state":{', b'"tier":', b'"lease_ttl":"', b'"snapshot_time":"', b"null", b"-1"),
    ),
)
