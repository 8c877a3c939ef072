"""`liquidation logs stats`: a log, counted, on a screen and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import on_a_terminal, run
from tests.cli.test_logs_tail import REFUSED, a_log, decision


def counted(seq: int, **changes: Any) -> dict[str, Any]:
    return decision(seq, name="", process="p", worker=0) | changes


def lines() -> list[dict[str, Any]]:
    return [
        counted(1),
        counted(2, **REFUSED),
        counted(5, account_id="account-2"),
        {"timestamp": "2026-11-22T18:11:06Z", "event": "log_lines_lost", "lost": 2, "process": "p"},
    ]


def test_a_log_is_counted_for_programs(tmp_path: Path) -> None:
    path = a_log(tmp_path, *lines())

    result = run("logs", "stats", "--json", "--bucket", "1m", str(path))

    record = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (record["lines"], record["refused"], record["broken"]) == (3, 1, 0)
    assert record["times"][0]["from"] == "2026-11-22T18:11:00Z"
    assert record["lost"]["gaps"] == [{"process": "p", "first": 3, "last": 4, "lines": 2}]
    assert record["lost"]["told_in_all"] == 2


def test_filters_say_what_is_counted(tmp_path: Path) -> None:
    path = a_log(tmp_path, *lines())

    result = run("logs", "stats", "--json", "--account", "account-2", str(path))

    assert json.loads(result.stdout)["lines"] == 1


def test_standard_input_is_counted_and_what_is_broken_told() -> None:
    given = json.dumps(counted(1)).encode() + b"\nx\n"

    result = run("logs", "stats", "--json", given=given)

    assert json.loads(result.stdout)["broken"] == 1
    assert result.stderr.startswith("1 line was passed over:")


@pytest.mark.parametrize("columns", [60, 100])
async def test_a_screen_shows_counts_shares_latencies_and_lost_lines(
    tmp_path: Path, columns: int
) -> None:
    path = a_log(tmp_path, *lines())

    status, screen = await on_a_terminal("logs", "stats", str(path), columns=columns)

    assert status == 0
    assert max(map(len, screen.splitlines())) <= columns
    rows = [line.split() for line in screen.splitlines()]
    assert ["1", "refused", "(33.3%)"] in rows
    assert ["least_request_ratio", "1", "1", "100.0%"] in rows
    assert ["account-1", "2", "1", "50.0%"] in rows
    assert ["p", "3", "4", "2"] in rows
    assert "latency p50 1.5 ms, p90 1.5 ms, p99 1.5 ms, max 1.5 ms" in screen
    assert "2 lines are missing; the log tells of 2." in screen


def test_an_empty_log_is_counted_too(tmp_path: Path) -> None:
    result = run("logs", "stats", str(a_log(tmp_path)))

    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "0 lines")
