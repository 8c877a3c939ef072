"""What is counted of a log, against what stands in it."""

import random
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from liquidation.analysis.counters import Latencies, TopK
from liquidation.analysis.reader import Reader
from liquidation.analysis.search import Filter
from liquidation.analysis.summary import Summary, counted_series, shares, summary_record

START = datetime(2026, 11, 22, tzinfo=UTC)


def decision(seq: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "timestamp": "2026-11-22T18:11:47.936616Z",
        "level": "info",
        "event": "decision",
        "decision_id": f"p-{seq}",
        "rpc": "CheckClaim",
        "liquidation_id": 101,
        "account_id": "account-1",
        "liquidator_id": "liquidator-1",
        "latency_us": 300,
        "outcome": "accepted",
        "code": 0,
        "name": "",
        "rule": "",
        "process": "p",
        "worker": 0,
        "seq": seq,
    } | changes


REFUSED: dict[str, Any] = {
    "outcome": "refused",
    "code": -1201,
    "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
    "rule": "least_request_ratio",
}


def summed(*lines: dict[str, Any], bucket: str = "1h", wanted: Filter | None = None) -> Any:
    summary = Summary(counted_series(bucket), None if wanted is None else wanted.matches)
    for line in lines:
        summary.add(line)
    return summary_record(summary, 10)


def test_a_log_without_lines_has_a_summary_too() -> None:
    record = summed()

    assert (record["lines"], record["refused_share"], record["times"]) == (0, "0", [])
    assert record["latency_us"]["count"] == 0


def test_lines_are_counted_by_each_of_what_they_have_in_common() -> None:
    record = summed(
        decision(1),
        decision(2, **REFUSED),
        decision(3, **REFUSED, liquidator_id="liquidator-2", worker=1),
        decision(4, account_id="account-2", timestamp="2026-11-22T19:00:00.000000Z"),
    )

    assert (record["lines"], record["refused"], record["refused_share"]) == (4, 2, "0.5")
    assert record["codes"]["rows"] == [
        {"lines": 2, "refused": 2, "refused_share": "1", "code": -1201, "name": REFUSED["name"]},
        {"lines": 2, "refused": 0, "refused_share": "0", "code": 0, "name": ""},
    ]
    assert [(row["rule"], row["lines"]) for row in record["rules"]["rows"]] == [
        ("least_request_ratio", 2)
    ]
    assert [(row["account_id"], row["lines"]) for row in record["accounts"]["rows"]] == [
        ("account-1", 3),
        ("account-2", 1),
    ]
    assert [(row["liquidator_id"], row["refused"]) for row in record["liquidators"]["rows"]] == [
        ("liquidator-1", 1),
        ("liquidator-2", 1),
    ]
    assert [(row["worker"], row["lines"]) for row in record["workers"]["rows"]] == [
        ("0", 3),
        ("1", 1),
    ]
    assert [(each["from"], each["lines"]) for each in record["times"]] == [
        ("2026-11-22T18:00:00Z", 3),
        ("2026-11-22T19:00:00Z", 1),
    ]


@pytest.mark.parametrize(
    ("bucket", "begins"),
    [
        ("1m", "2026-11-22T18:11:00Z"),
        ("1h", "2026-11-22T18:00:00Z"),
        ("1d", "2026-11-22T00:00:00Z"),
    ],
)
def test_a_bucket_of_time_tells_when_it_begins(bucket: str, begins: str) -> None:
    (time,) = summed(decision(), bucket=bucket)["times"]

    assert time["from"] == begins


def test_more_buckets_than_room_become_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liquidation.analysis.summary._MAX_BUCKETS", 100)
    monkeypatch.setattr("liquidation.analysis.summary._MAX_GROUPS", 10)
    times = [START + timedelta(minutes=minute) for minute in range(600)]
    lines = [
        decision(number, timestamp=time.strftime("%Y-%m-%dT%H:%M:%S.000000Z"))
        for number, time in enumerate(times, 1)
    ]

    record = summed(*lines, bucket="1m")

    assert record["bucket"] == "1h"
    assert [each["lines"] for each in record["times"]] == [60] * 10


def test_what_has_no_room_in_the_top_stands_together() -> None:
    summary = Summary(counted_series("1h"))
    for number in range(20):
        for _ in range(number + 1):
            summary.add(decision(account_id=f"account-{number:02}", **REFUSED))

    accounts = summary_record(summary, 2)["accounts"]

    assert [row["account_id"] for row in accounts["rows"]] == ["account-19", "account-18"]
    assert accounts["others"]["lines"] == 210 - 20 - 19
    assert accounts["others"]["refused_share"] == "1"
    assert (accounts["distinct"], accounts["may_lack"]) == (20, 0)


def test_names_without_room_are_counted_together_and_no_count_lacks_more_than_is_said() -> None:
    chance = random.Random(3)
    names = [f"account-{int(chance.paretovariate(0.4)) % 50_000}" for _ in range(60_000)]
    counts = TopK(room=1000)
    for start in range(0, len(names), 500):
        counts.add_all(names[start : start + 500], [])
    true = Counter(names)

    top = counts.top(20)

    assert 0 < counts.may_lack < 100
    for name, count in top:
        assert 0 <= true[name] - count.lines <= counts.may_lack
    assert counts.all.lines == len(names)


def test_many_accounts_stay_out_of_memory() -> None:
    counts = TopK()
    tracemalloc.start()
    for start in range(0, 200_000, 500):
        counts.add_all([f"account-{number}" for number in range(start, start + 500)], [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 * 1024**2
    assert counts.all.lines == 200_000


def test_few_latencies_have_exact_percentiles() -> None:
    latencies = Latencies()
    latencies.add_all(list(range(1, 1001)))

    assert [latencies.percentile(each) for each in ("50", "90", "99")] == [500, 900, 990]
    assert (latencies.count, latencies.largest) == (1000, 1000)
    assert latencies.relative_error == "0"


def test_many_latencies_have_percentiles_as_exact_as_is_said() -> None:
    chance = random.Random(5)
    values = [int(chance.lognormvariate(9, 2)) for _ in range(200_000)]
    latencies = Latencies()
    for start in range(0, len(values), 500):
        latencies.add_all(values[start : start + 500])
    values.sort()

    assert latencies.relative_error == "0.016"
    assert latencies.largest == values[-1]
    for percent in (50, 90, 99):
        true = values[percent * len(values) // 100 - 1]
        assert abs(latencies.percentile(str(percent)) - true) <= true * 0.016 + 1


def test_lost_lines_are_told_by_their_numbers() -> None:
    lines = [decision(seq) for seq in (1, 2, 5, 6, 9)] + [decision(3, process="q")]

    lost = summed(*lines)["lost"]

    assert (lost["processes"], lost["missing"]) == (2, 4)
    assert lost["gaps"] == [
        {"process": "p", "first": 3, "last": 4, "lines": 2},
        {"process": "p", "first": 7, "last": 8, "lines": 2},
    ]


def test_lines_that_are_not_asked_for_are_not_lost() -> None:
    lines = [decision(1), decision(2, **REFUSED), decision(3)]

    record = summed(*lines, wanted=Filter(outcome="refused"))

    assert (record["lines"], record["lost"]["missing"]) == (1, 0)


def test_what_the_log_tells_of_lost_lines_is_told() -> None:
    note = {"timestamp": "t", "event": "log_lines_lost", "lost": 7, "process": "p"}

    lost = summed(note, decision())["lost"]

    assert lost["told"] == [{"timestamp": "t", "process": "p", "lost": 7}]
    assert lost["told_in_all"] == 7


@pytest.mark.parametrize(
    "change",
    [
        {"code": "x"},
        {"code": []},
        {"worker": None},
        {"latency_us": "300"},
        {"latency_us": 1.5},
        {"timestamp": 3},
        {"account_id": {}},
        {"outcome": None},
        {"process": 7},
        {"seq": "1"},
    ],
    ids=str,
)
def test_a_line_unlike_its_event_is_told_and_the_others_count(change: dict[str, Any]) -> None:
    record = summed(decision(1), decision(2) | change, decision(3))

    assert (record["lines"], record["unlike"]) == (2, 1)


def test_a_line_that_lacks_a_key_is_unlike_its_event() -> None:
    record = summed({"event": "decision", "seq": 1}, {"event": "log_lines_lost"}, decision())

    assert (record["lines"], record["unlike"]) == (1, 2)
    assert record["notes"]["rows"] == []


def test_a_real_log_is_counted_whole(produced_log: Path) -> None:
    summary = Summary(counted_series("1h"))
    fields = [entry.fields for entry in Reader([produced_log])]
    for each in fields:
        summary.add(each)
    numbered = [each for each in fields if "seq" in each]

    record = summary_record(summary, 100)

    assert (record["lines"], record["unlike"]) == (len(numbered), 0)
    assert record["lost"]["missing"] == 0
    codes = Counter(each["code"] for each in numbered)
    assert {row["code"]: row["lines"] for row in record["codes"]["rows"]} == codes
    rules = Counter(each["rule"] for each in numbered if each["rule"])
    assert {row["rule"]: row["lines"] for row in record["rules"]["rows"]} == rules


def test_a_log_of_which_some_was_left_out_says_so() -> None:
    assert summed(decision(1), decision(2, sample="0.1"))["sampled"] == 1


def test_a_share_has_four_decimals() -> None:
    found = [
        shares(lines, part)["refused_share"] for lines, part in ((3, 1), (5, 0), (5, 5), (0, 0))
    ]

    assert found == ["0.3333", "0", "1", "0"]
