"""Rules that change while calls go on: each decision is made by one version, whole."""

import asyncio
import os
import signal
from collections import Counter
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2

from liquidation.v1 import rules_service_pb2 as pb
from tests import samples
from tests.cli.commands import run
from tests.following import Following
from tests.processes import Process, serving
from tests.sidecars import details_of, dial

BATCH = "/liquidation.v1.LiquidationRulesService/BatchCheckClaims"
WORKERS = 2
CALLERS = 4
CHANGES = 100
# Each so manieth change is a file that is no rules file.
BAD_EACH = 10


def rules(number: int) -> str:
    """Rules whose every threshold tells their version."""
    return (
        f'version = "v{number}"\n'
        f'[tiers.low]\nmin_claim_notional = "{10000 + 30 * number}"\n'
        f'[tiers.high]\nmin_claim_notional = "{5000 + 20 * number}"\n'
    )


def too_little(number: int) -> tuple[str, str]:
    """What is told of the two claims below under rules(number): 0.3 of 30000, and of 20000."""
    return (
        f"least req ratio should = {_plain(Decimal(10000 + 30 * number) / 30000)}",
        f"least req ratio should = {_plain(Decimal(5000 + 20 * number) / 20000)}",
    )


def _plain(ratio: Decimal) -> str:
    rounded = ratio.quantize(Decimal("0.0001"), rounding="ROUND_CEILING")
    return format(rounded.normalize(), "f")


LOW = samples.check(samples.low_request({"ratio_qty_request": "0.3"}, explain=True))
HIGH = samples.check(
    samples.high_request(
        {"symbols": [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.2"}]}, explain=True
    )
)


def put(path: Path, text: str) -> None:
    """Puts a file in the place of another, whole."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.replace(path)


def version_of(result: pb.CheckClaimResult, which: int) -> int:
    """The number of the rules that decided, of which everything in the answer speaks."""
    details = details_of(status_pb2.Status.FromString(result.refused.SerializeToString()))
    decision = details.error.decision
    number = int(decision.rules_version.removeprefix("v"))
    threshold = (10000 + 30 * number, 5000 + 20 * number)[which]
    assert details.error.message == too_little(number)[which]
    assert details.info.metadata["min_claim_notional"] == str(threshold)
    (asked,) = [each for each in decision.trace if each.rule == "least_request_ratio"]
    assert asked.facts["min_claim_notional"] == str(threshold)
    return number


async def ask_on(address: str, ended: asyncio.Event, seen: Counter[int]) -> None:
    """Asks for both claims, again and again, over connections of its own."""
    batch = pb.BatchCheckClaimsRequest(requests=[LOW, HIGH] * 4).SerializeToString()
    while not ended.is_set():
        async with dial(address) as channel:
            for _ in range(20):
                data = await channel.unary_unary(BATCH)(batch)
                results = pb.BatchCheckClaimsResponse.FromString(data).results
                for index, result in enumerate(results):
                    seen[version_of(result, index % 2)] += 1


def told_by_each(lines: list[dict[str, Any]], event: str, times: int) -> bool:
    """Whether every worker has told an event so many times."""
    told = Counter(line["process"] for line in lines if line["event"] == event)
    return len(told) == WORKERS and min(told.values()) >= times


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    put(path, rules(0))
    return path


def with_rules(tmp_path: Path, rules_file: Path) -> Any:
    arguments = ("--rules", str(rules_file), "--workers", str(WORKERS))
    return serving(tmp_path, "--listen", "127.0.0.1:0", *arguments, "--log-file", "decisions.log")


async def change_often(process: Process, rules_file: Path, log: Following) -> None:
    """Each change is announced by SIGHUP, and awaited in the log of each worker."""
    times = Counter({"rules": 1})
    for change in range(1, CHANGES + 1):
        bad = change % BAD_EACH == 0
        put(rules_file, "version = 1\nno_such_key = 1" if bad else rules(change))
        os.kill(process.popen.pid, signal.SIGHUP)
        event = "reload_failed" if bad else "rules"
        times[event] += 1
        await log.until(partial(told_by_each, event=event, times=times[event]))


async def test_each_of_a_hundred_changes_is_in_force_from_the_next_decision_on(
    tmp_path: Path, rules_file: Path
) -> None:
    seen: Counter[int] = Counter()
    with with_rules(tmp_path, rules_file) as process:
        log = Following(tmp_path / "decisions.log")
        await log.until(partial(told_by_each, event="rules", times=1))
        ended = asyncio.Event()
        callers = [
            asyncio.create_task(ask_on(process.address, ended, seen)) for _ in range(CALLERS)
        ]
        changing = asyncio.create_task(change_often(process, rules_file, log))
        done, _ = await asyncio.wait([changing, *callers], return_when=asyncio.FIRST_COMPLETED)
        assert done == {changing}
        ended.set()
        await asyncio.gather(changing, *callers)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait() == 0

    log.read()
    told: dict[str, set[str]] = {}
    decided: Counter[str] = Counter()
    for line in log.lines:
        if line["event"] == "rules":
            told.setdefault(line["process"], set()).add(line["rules"]["version"])
        if line["event"] == "decision":
            assert line["rules_version"] in told[line["process"]]
            decided[line["rules_version"]] += 1
    assert decided == {f"v{number}": count for number, count in seen.items()}
    assert not seen.keys() & set(range(BAD_EACH, CHANGES + 1, BAD_EACH))
    assert max(seen) == CHANGES - 1
    replayed = run("logs", "replay", str(tmp_path / "decisions.log"), "--format", "json")
    assert replayed.exit_code == 0, replayed.output


async def test_a_change_is_seen_without_a_signal_and_a_bad_one_changes_nothing(
    tmp_path: Path, rules_file: Path
) -> None:
    with with_rules(tmp_path, rules_file) as process:
        log = Following(tmp_path / "decisions.log")
        await log.until(partial(told_by_each, event="rules", times=1))
        put(rules_file, rules(1))
        await log.until(partial(told_by_each, event="rules", times=2))
        put(rules_file, 'version = "v2"\n[tiers.low]\nmin_claim_notional = -1\n')
        await log.until(partial(told_by_each, event="reload_failed", times=1))

        (problem,) = {line["problem"] for line in log.lines if line["event"] == "reload_failed"}
        assert problem.startswith("tiers.low.min_claim_notional: must be")
        async with dial(process.address) as channel:
            batch = pb.BatchCheckClaimsRequest(requests=[LOW]).SerializeToString()
            data = await channel.unary_unary(BATCH)(batch)
        (result,) = pb.BatchCheckClaimsResponse.FromString(data).results
        assert version_of(result, 0) == 1


async def test_a_worker_that_dies_while_the_rules_are_bad_begins_with_the_last_good_ones(
    tmp_path: Path, rules_file: Path
) -> None:
    with with_rules(tmp_path, rules_file) as process:
        log = Following(tmp_path / "decisions.log")
        await log.until(partial(told_by_each, event="rules", times=1))
        put(rules_file, rules(1))
        os.kill(process.popen.pid, signal.SIGHUP)
        await log.until(partial(told_by_each, event="rules", times=2))
        put(rules_file, "no rules at all")
        os.kill(process.popen.pid, signal.SIGHUP)
        await log.until(partial(told_by_each, event="reload_failed", times=1))

        (killed, *_) = (line for line in log.lines if line["event"] == "worker_serving")
        os.kill(killed["pid"], signal.SIGKILL)
        await log.until(
            lambda lines: sum(line["event"] == "worker_serving" for line in lines) == WORKERS + 1
        )

        reborn = [line for line in log.lines if line["event"] == "worker_serving"][-1]
        assert reborn["rules_version"] == "v1"


async def test_a_version_that_comes_again_with_other_rules_is_told(
    tmp_path: Path, rules_file: Path
) -> None:
    with with_rules(tmp_path, rules_file) as process:
        log = Following(tmp_path / "decisions.log")
        await log.until(partial(told_by_each, event="rules", times=1))
        put(rules_file, rules(1).replace("v1", "v0"))
        os.kill(process.popen.pid, signal.SIGHUP)
        await log.until(partial(told_by_each, event="rules_version_reused", times=1))
