"""The metrics of a real server: after a load, their totals are the log's counts."""

import asyncio
import json
import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from liquidation.analysis.reader import is_decision
from liquidation.rules.policy import Policy
from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.analysis.produced import REFUSED_BY, produce
from tests.processes import serving, start
from tests.service.metrics.scrapes import Scrape, scrape
from tests.sidecars import Running, dial, running

LOOPBACK = "127.0.0.1:0"
# A test that waits for longer has failed.
PATIENCE_S = 30
CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
BATCH = "/liquidation.v1.LiquidationRulesService/BatchCheckClaims"
HIGHER = """
version = "higher"
[tiers.low]
min_claim_notional = 20000
"""


async def scraped(server: Running) -> Scrape:
    (line,) = await server.lines("serving", 1)
    return await asyncio.to_thread(scrape, line["metrics"])


async def until(server: Running, name: str, value: float) -> Scrape:
    """The first scrape in which one series has that value."""
    async with asyncio.timeout(PATIENCE_S):
        while (seen := await scraped(server)).value(name) != value:
            pass
    return seen


async def lines_told(server: Running, seen: Scrape) -> list[dict[str, Any]]:
    """Every line that is counted, once all of them stand in the file."""
    found = []
    for (event, _), count in seen.counted("liquidation_log_lines_total").items():
        lines = await server.lines(event, int(count))
        assert len(lines) == count, event
        found += lines
    return found


async def test_after_a_load_every_total_is_the_count_of_the_log(tmp_path: Path) -> None:
    async with running(tmp_path, metrics_listen=LOOPBACK) as server:
        await produce(server)
        seen = await scraped(server)
        lines = await lines_told(server, seen)

    decisions = Counter(
        (str(line["code"]), line["rpc"], line["rule"], "0") for line in lines if is_decision(line)
    )
    assert len(decisions) > len(REFUSED_BY)
    assert seen.counted("liquidation_decisions_total") == decisions
    ended = Counter(
        _how_ended(line)
        for line in lines
        if line["event"] == "claim" and line["outcome"] == "accepted" and not line["known"]
    )
    assert seen.value("liquidation_claims_begun_total") == ended.pop("begin")
    del ended["renew"]
    told = seen.counted("liquidation_claims_ended_total")
    assert told == {(how, "0"): count for how, count in ended.items()}
    assert {how for how, _ in told} == {"completed", "forced", "expired"}
    changes = Counter((line["change"], "0") for line in lines if line["event"] == "liquidation")
    assert seen.counted("liquidation_liquidations_total") == changes
    failed = [line for line in lines if line["event"] == "store_failed"]
    assert seen.value("liquidation_store_errors_total") >= len(failed) > 0
    assert seen.value("liquidation_faults_total") == 0
    assert seen.value("liquidation_log_lines_lost_total") == 0
    assert seen.value("liquidation_calls_in_progress") == 0


def _how_ended(line: dict[str, Any]) -> str:
    if line["request"].get("force"):
        return "forced"
    change: str = line["change"]
    return {"complete": "completed", "cancel": "cancelled", "expire": "expired"}.get(change, change)


async def test_every_unary_call_is_counted_with_its_code(tmp_path: Path) -> None:
    async with running(tmp_path, metrics_listen=LOOPBACK) as server:
        await server.check(samples.check(samples.low_request()))
        await server.refused(REFUSED_BY["least_request_ratio"])
        await server.call("LiquidationRulesService.GetRules", rules_service_pb2.GetRulesRequest())
        missing = claim_service_pb2.GetClaimRequest(claim_id="0" * 32)
        await server.refused(missing, "ClaimService.GetClaim")
        begin = samples.low_request() | {"request_id": "order-1"}
        await server.call(
            "ClaimService.BeginClaim", ParseDict(begin, claim_service_pb2.BeginClaimRequest())
        )

        seen = await scraped(server)

    assert seen.counted("liquidation_calls_total") == {
        ("0", "CheckClaim", "0"): 1,
        ("-1201", "CheckClaim", "0"): 1,
        ("0", "GetRules", "0"): 1,
        ("-1006", "GetClaim", "0"): 1,
        ("0", "BeginClaim", "0"): 1,
    }
    counts = seen.counted("liquidation_call_duration_seconds_count")
    assert counts == {
        ("BeginClaim", "0"): 1,
        ("CheckClaim", "0"): 2,
        ("GetClaim", "0"): 1,
        ("GetRules", "0"): 1,
    }


async def test_claims_that_are_active_are_told(tmp_path: Path) -> None:
    begin = samples.low_request() | {"request_id": "order-1"}
    async with running(tmp_path, metrics_listen=LOOPBACK) as server:
        assert (await scraped(server)).value("liquidation_claims_active") == 0
        message = ParseDict(begin, claim_service_pb2.BeginClaimRequest())
        claim = (await server.call("ClaimService.BeginClaim", message)).claim
        await until(server, "liquidation_claims_active", 1)
        complete = claim_service_pb2.CompleteClaimRequest(
            claim_id=claim.claim_id, fencing_token=claim.fencing_token
        )
        await server.call("ClaimService.CompleteClaim", complete)
        await until(server, "liquidation_claims_active", 0)


async def test_a_server_whose_store_does_not_answer_is_not_serving_until_it_does(
    tmp_path: Path,
) -> None:
    def rename(old: str, new: str) -> None:
        connection = sqlite3.connect(tmp_path / "store.db")
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    async with running(tmp_path, metrics_listen=LOOPBACK) as server:
        assert (await scraped(server)).value("liquidation_serving") == 1
        rename("claim", "elsewhere")
        await until(server, "liquidation_serving", 0)
        rename("elsewhere", "claim")
        seen = await until(server, "liquidation_serving", 1)

    assert seen.value("liquidation_store_errors_total") > 0


async def test_rules_and_candidate_are_told_and_what_the_candidate_disagrees_with(
    tmp_path: Path,
) -> None:
    candidate = tmp_path / "candidate.toml"
    candidate.write_text(HIGHER)
    policy = Policy(version="in-force")
    half = samples.check(samples.low_request({"ratio_qty_request": "0.5"}))
    async with running(
        tmp_path, policy, metrics_listen=LOOPBACK, candidate_rules=candidate
    ) as server:
        await server.check(half)
        (line,) = await server.lines("decision", 1)
        before = await scraped(server)
        candidate.write_text("version = ")
        async with asyncio.timeout(PATIENCE_S):
            while not (seen := await scraped(server)).counted("liquidation_reload_problem"):
                pass

    assert line["candidate"]["rules_version"] == "higher"
    assert before.series("liquidation_rules_info") == {("in-force", "0"): 1}
    assert before.series("liquidation_candidate_rules_info") == {("higher", "0"): 1}
    assert before.counted("liquidation_candidate_disagreements_total") == {("would_refuse", "0"): 1}
    assert seen.counted("liquidation_reload_problem") == {("candidate_rules", "0"): 1}
    assert seen.counted("liquidation_reloads_total") == {("candidate_rules", "failure", "0"): 1}
    assert seen.series("liquidation_candidate_rules_info") == {("higher", "0"): 1}


async def test_without_the_flag_nothing_is_served(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        (line,) = await server.lines("serving", 1)

    assert "metrics" not in line


@pytest.mark.parametrize("workers", [1, 3])
async def test_under_concurrent_load_the_totals_of_all_workers_are_the_count_of_the_log(
    tmp_path: Path, workers: int
) -> None:
    flags = ("--workers", str(workers), "--log-file", "x.log", "--metrics-listen", "0")
    with serving(tmp_path, *flags) as process:
        await asyncio.gather(*(_load(process.address) for _ in range(8)))
        seen = await asyncio.to_thread(scrape, process.serving["metrics"])
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.popen.wait) == 0

    lines = [json.loads(line) for line in (tmp_path / "x.log").read_text().splitlines()]
    decisions = Counter(
        (str(line["code"]), line["rpc"], line["rule"], str(line["worker"]))
        for line in lines
        if line["event"] == "decision"
    )
    assert decisions.total() == 8 * 60
    assert seen.counted("liquidation_decisions_total") == decisions
    assert set(seen.series("liquidation_serving")) == {(str(n),) for n in range(workers)}
    up = {(str(n),): 1 for n in range(workers)} if workers > 1 else {}
    assert seen.series("liquidation_worker_up") == up


async def _load(address: str) -> None:
    """60 decisions over a connection of its own: 20 calls, a third of them refused, 4 batches."""
    accepted = samples.check(samples.low_request())
    refused = REFUSED_BY["least_request_ratio"]
    batch = rules_service_pb2.BatchCheckClaimsRequest()
    batch.requests.extend([accepted, refused] * 5)
    async with dial(address) as channel:
        check, many = channel.unary_unary(CHECK), channel.unary_unary(BATCH)
        requests = [refused if number % 3 == 0 else accepted for number in range(20)]
        calls = [check(request.SerializeToString()) for request in requests]
        calls += [many(batch.SerializeToString()) for _ in range(4)]
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_worker_that_is_killed_is_told_again_once_it_is_started_again(
    tmp_path: Path,
) -> None:
    flags = ("--workers", "2", "--log-file", "x.log", "--metrics-listen", "0")
    with serving(tmp_path, *flags) as process:
        address = process.serving["metrics"]
        first = await asyncio.to_thread(scrape, address)
        started = first.series("process_start_time_seconds")
        pids = [
            line["pid"]
            for line in map(json.loads, (tmp_path / "x.log").read_text().splitlines())
            if line["event"] == "worker_serving" and line["worker"] == 1
        ]
        os.kill(pids[0], signal.SIGKILL)
        again = first
        async with asyncio.timeout(PATIENCE_S):
            while again.series("process_start_time_seconds").get(("1",)) in (None, started["1",]):
                again = await asyncio.to_thread(scrape, address)
                assert again.value("liquidation_worker_up", worker="0") == 1

    assert again.series("process_start_time_seconds")["0",] == started["0",]
    assert again.series("liquidation_worker_up") == {("0",): 1, ("1",): 1}


async def test_metrics_are_not_served_to_other_hosts_unless_it_is_allowed(tmp_path: Path) -> None:
    started = start(["--metrics-listen", "0.0.0.0:0"], tmp_path)
    _, told = await asyncio.to_thread(started.communicate)
    assert started.returncode == 1
    assert "--allow-plaintext-beyond-loopback metrics" in told

    allowed = ("--metrics-listen", "0.0.0.0:0", "--allow-plaintext-beyond-loopback", "metrics")
    with serving(tmp_path, *allowed) as process:
        port = process.serving["metrics"].rpartition(":")[2]
        assert (await asyncio.to_thread(scrape, f"127.0.0.1:{port}")).names
