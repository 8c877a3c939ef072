"""Rotating the log: by moving the file and SIGHUP, or by copying and truncating it."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.processes import Process, serving, workers_of
from tests.sidecars import dial

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"


async def check(process: Process, times: int) -> None:
    request = samples.check(samples.low_request()).SerializeToString()
    async with dial(process.address) as channel:
        for _ in range(times):
            await channel.unary_unary(CHECK)(request)


def lines(*paths: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [line for line in found if line["event"] == "decision"]


def writing_to(log: Path, process: Process) -> set[int]:
    """The workers that have a log open."""
    found = set()
    for pid in workers_of(process.popen.pid):
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(FileNotFoundError):  # closed a moment ago
                if entry.samefile(log):
                    found.add(pid)
    return found


def wait_for(path: Path, event: str, count: int = 1) -> None:
    while not path.exists() or path.read_text().count(f'"event":"{event}"') < count:
        continue


@pytest.mark.parametrize("workers", [1, 2])
async def test_after_sighup_lines_go_to_a_new_file_and_none_is_lost(
    tmp_path: Path, workers: int
) -> None:
    log, moved = tmp_path / "x.log", tmp_path / "x.log.1"
    arguments = ("--listen", "127.0.0.1:0", "--workers", str(workers), "--log-file", str(log))
    with serving(tmp_path, *arguments) as process:
        await check(process, 20)
        wait_for(log, "decision", 20)
        log.rename(moved)
        await check(process, 20)
        wait_for(moved, "decision", 40)
        process.popen.send_signal(signal.SIGHUP)
        wait_for(log, "log_reopened", workers)
        await check(process, 20)
        process.popen.terminate()
        process.popen.wait()

    assert len(lines(moved)) == 40
    assert len(lines(log)) == 20
    by_process: dict[str, list[int]] = {}
    for line in lines(moved, log):
        by_process.setdefault(line["process"], []).append(line["seq"])
    assert all(seq == list(range(1, len(seq) + 1)) for seq in by_process.values())


def test_a_worker_that_begins_while_the_log_is_moved_goes_over_to_the_new_file(
    tmp_path: Path,
) -> None:
    log, moved = tmp_path / "x.log", tmp_path / "x.log.1"
    arguments = ("--listen", "127.0.0.1:0", "--workers", "2", "--log-file", str(log))
    with serving(tmp_path, *arguments) as process:
        wait_for(log, "worker_serving", 2)
        before = writing_to(log, process)
        os.kill(min(before), signal.SIGKILL)
        while not (begun := writing_to(log, process) - before):
            continue
        os.kill(min(begun), signal.SIGSTOP)
        log.rename(moved)
        process.popen.send_signal(signal.SIGHUP)
        wait_for(log, "log_reopened")
        os.kill(min(begun), signal.SIGCONT)
        while (log.read_text() + moved.read_text()).count("worker_serving") < 3:
            continue
        process.popen.terminate()
        process.popen.wait()

    assert log.read_text().count('"event":"stopped"') == 2


async def test_a_log_that_is_copied_and_truncated_goes_on_at_its_beginning(
    tmp_path: Path,
) -> None:
    log = tmp_path / "x.log"
    with serving(tmp_path, "--log-file", str(log)) as process:
        await check(process, 5)
        wait_for(log, "decision", 5)
        os.truncate(log, 0)
        await check(process, 3)
        process.popen.terminate()
        process.popen.wait()

    assert [line["seq"] for line in lines(log)] == [6, 7, 8]


async def test_a_file_that_cannot_be_opened_again_leaves_the_old_one_in_use(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with serving(tmp_path, "--log-file", "logs/x.log") as process:
        folder.rename(tmp_path / "moved")
        process.popen.send_signal(signal.SIGHUP)
        wait_for(tmp_path / "moved" / "x.log", "log_not_reopened")
        await check(process, 2)
        process.popen.terminate()
        process.popen.wait()

    assert len(lines(tmp_path / "moved" / "x.log")) == 2


async def test_sighup_does_not_end_a_server_that_logs_to_standard_output(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        process.popen.send_signal(signal.SIGHUP)
        await check(process, 1)
        assert process.popen.poll() is None
