"""Several workers on one port and one database, as an operator sees them."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.cli.checking import contents
from tests.processes import Process, serving, workers_of
from tests.service.test_claims import begin_request
from tests.sidecars import dial

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
BEGIN = "/liquidation.v1.ClaimService/BeginClaim"
WORKERS = 3


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    arguments = ("--listen", "127.0.0.1:0", "--workers", str(WORKERS))
    with serving(tmp_path, *arguments, "--log-file", "decisions.log") as process:
        yield process


def log_of(directory: Path, event: str) -> list[dict[str, Any]]:
    # What is being written ends in the middle of a line.
    complete, _, _ = (directory / "decisions.log").read_text().rpartition("\n")
    return [line for line in map(json.loads, complete.splitlines()) if line["event"] == event]


def pids(directory: Path) -> dict[int, int]:
    """The process that each worker runs in now, once all of them have told theirs."""
    told: dict[int, int] = {}
    while len(told) < WORKERS:
        told |= {line["worker"]: line["pid"] for line in log_of(directory, "worker_serving")}
    return told


def wait_for_worker(process: Process, directory: Path, worker: int, other_than: int) -> int:
    """The process in which a worker runs that is not the one before."""
    while pids(directory)[worker] == other_than:
        assert process.popen.poll() is None
    return pids(directory)[worker]


async def check_until(address: str, directory: Path, workers: set[int]) -> None:
    """Checks over new connections until the log has a line of each of these workers."""
    request = samples.check(samples.low_request()).SerializeToString()
    while True:
        async with dial(address) as channel:
            await channel.unary_unary(CHECK)(request, wait_for_ready=True)
        if {line["worker"] for line in log_of(directory, "decision")} >= workers:
            return


async def test_every_worker_answers_beside_one_serving_line_and_numbers_its_lines_without_gap(
    process: Process, tmp_path: Path
) -> None:
    assert process.serving["workers"] == WORKERS
    await check_until(process.address, tmp_path, set(range(WORKERS)))

    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait() == 0
    assert process.output.read() == ""
    by_process: dict[str, list[int]] = {}
    for line in log_of(tmp_path, "decision"):
        by_process.setdefault(line["process"], []).append(line["seq"])
    assert len(by_process) == WORKERS
    assert all(each == list(range(1, len(each) + 1)) for each in by_process.values())


async def test_a_worker_that_dies_is_started_again(process: Process, tmp_path: Path) -> None:
    before = pids(tmp_path)

    os.kill(before[1], signal.SIGKILL)
    after = wait_for_worker(process, tmp_path, 1, before[1])

    assert pids(tmp_path) == before | {1: after}
    await check_until(process.address, tmp_path, {1})


async def test_a_claim_of_one_worker_is_in_process_for_every_other(
    process: Process, tmp_path: Path
) -> None:
    request = begin_request("r-1").SerializeToString()
    async with dial(process.address) as channel:
        first = claim_service_pb2.BeginClaimResponse.FromString(
            await channel.unary_unary(BEGIN)(request)
        )
    stored = samples.check(samples.low_request()).SerializeToString()
    seen: set[int] = set()
    while seen < set(range(WORKERS)):
        async with dial(process.address) as channel:
            again = await channel.unary_unary(BEGIN)(request)
            assert claim_service_pb2.BeginClaimResponse.FromString(again) == first
            batch = await channel.unary_unary(CHECK.replace("CheckClaim", "BatchCheckClaims"))(
                rules_service_pb2.BatchCheckClaimsRequest(
                    requests=[rules_service_pb2.CheckClaimRequest.FromString(stored)]
                ).SerializeToString()
            )
            (result,) = rules_service_pb2.BatchCheckClaimsResponse.FromString(batch).results
            assert result.refused.message == "Another liquidation is in process"
        seen = {line["worker"] for line in log_of(tmp_path, "decision")}


def test_workers_drain_when_their_supervisor_is_killed(process: Process, tmp_path: Path) -> None:
    workers = set(pids(tmp_path).values())

    process.popen.kill()

    while {line["worker"] for line in log_of(tmp_path, "stopped")} < set(range(WORKERS)):
        continue
    while any(Path(f"/proc/{pid}/exe").exists() for pid in workers):
        continue


def test_a_supervisor_that_ends_while_it_starts_a_worker_again_ends(
    process: Process, tmp_path: Path
) -> None:
    before = pids(tmp_path)
    os.kill(before[1], signal.SIGKILL)
    successor = new_worker(process, set(before.values()))
    # It is told to end from here on, and looks whether it is when its supervisor has answered it.
    while not catches(successor, signal.SIGTERM):
        continue

    process.popen.terminate()

    assert process.popen.wait(30) == 0


def new_worker(process: Process, known: set[int]) -> int:
    """The first worker that is not among those that are known."""
    while not (found := workers_of(process.popen.pid) - known):
        continue
    return found.pop()


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


async def test_a_unix_address_is_served_by_the_first_worker(tmp_path: Path) -> None:
    arguments = ("--listen", f"unix:{tmp_path}/s", "--listen", "127.0.0.1:0", "--workers", "2")
    with serving(tmp_path, *arguments, "--log-file", "decisions.log") as process:
        assert process.serving["addresses"][0] == f"unix:{tmp_path}/s"
        async with dial(f"unix:{tmp_path}/s") as channel:
            request = samples.check(samples.low_request()).SerializeToString()
            await channel.unary_unary(CHECK)(request)
        process.popen.send_signal(signal.SIGTERM)
        process.popen.wait()
    assert [line["worker"] for line in log_of(tmp_path, "decision")] == [0]


def long_batch() -> bytes:
    """A request whose 50 lines are longer than what a pipe takes at once."""
    positions = [
        {"symbol": f"S{number}", "position_qty": "1", "mark_price": "1000"} for number in range(200)
    ]
    request = samples.check(samples.low_request(liquidation={"positions": positions}))
    return rules_service_pb2.BatchCheckClaimsRequest(requests=[request] * 50).SerializeToString()


async def call_over_connections(address: str, batch: bytes) -> None:
    """Six calls at once, each on a connection of its own."""
    path = CHECK.replace("CheckClaim", "BatchCheckClaims")

    async def call() -> None:
        async with dial(address) as channel:
            await channel.unary_unary(path)(batch, wait_for_ready=True)

    await asyncio.gather(*(call() for _ in range(6)))


async def test_lines_of_workers_on_one_pipe_stay_whole(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", "127.0.0.1:0", "--workers", "2") as process:
        await call_over_connections(process.address, long_batch())
        process.popen.send_signal(signal.SIGTERM)
        lines = [process.serving, *map(json.loads, process.output.read().splitlines())]
    decisions = [line for line in lines if line["event"] == "decision"]
    assert len(decisions) == 300
    assert sum(line["event"] == "serving" for line in lines) == 1


async def test_workers_on_a_database_share_a_pipe_and_write_no_file(
    tmp_path: Path, postgres_database: str
) -> None:
    arguments = ("--listen", "127.0.0.1:0", "--workers", "2", "--store", postgres_database)
    with serving(tmp_path, *arguments) as process:
        lines = [process.serving]

        def read_until_served_by(number: int) -> None:
            while sum(line["event"] == "worker_serving" for line in lines) < number:
                lines.append(json.loads(process.output.readline()))

        read_until_served_by(2)
        # One that is started later takes its turns too.
        os.kill(next(line["pid"] for line in lines if line.get("worker") == 1), signal.SIGKILL)
        read_until_served_by(3)
        await call_over_connections(process.address, long_batch())
        process.popen.send_signal(signal.SIGTERM)
        lines += map(json.loads, process.output.read().splitlines())
        assert process.popen.wait() == 0

    assert sum(line["event"] == "decision" for line in lines) == 300
    assert lines[0]["store"] == postgres_database
    assert contents(tmp_path) == {}
