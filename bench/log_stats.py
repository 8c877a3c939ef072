"""How fast, and in how much memory, `liquidation logs stats` and `tail` read a long log.

Writes 1,000,000 lines with ten thousands of accounts. In turns, so that a busy machine slows both
alike, a part of them is parsed alone and a part counted; then each command reads the whole.

    python bench/log_stats.py [LINES]
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from liquidation.analysis.reader import read_lines
from liquidation.analysis.summary import Summary

LINES = 1_000_000
ROUNDS = 20
START = 1_795_000_000

REFUSALS = (
    (-1201, "LIQUIDATION_REQUEST_RATIO_TOO_SMALL", "least_request_ratio"),
    (-1012, "LIQUIDATION_IN_PROCESS", "no_claim_in_process"),
    (-1005, "WRONG_FORMAT", "well_formed"),
)


def line(number: int, chance: random.Random) -> bytes:
    """A line as long as one of the service's."""
    refused = chance.random() < 0.4
    code, name, rule = chance.choice(REFUSALS) if refused else (0, "", "")
    process = f"{number % 4:016x}"
    account, liquidation_id = f"account-{chance.randrange(60_000)}", chance.randrange(1, 60_000)
    liquidator = f"liquidator-{int(chance.paretovariate(0.7)) % 5_000}"
    at = START + number / 50
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{number % 50 * 20_000:06}Z"
    positions = [
        {"symbol": "PERP_BTC_USDC", "position_qty": "0.5", "mark_price": "40000"},
        {"symbol": "PERP_ETH_USDC", "position_qty": "-4", "mark_price": "2500"},
    ]
    terms = {
        "liquidation_id": str(liquidation_id),
        "liquidator_id": liquidator,
        "ratio_qty_request": "0.3333",
        "extra_liquidation_ratio": "0",
    }
    liquidation = {
        "liquidation_id": str(liquidation_id),
        "account_id": account,
        "tier": "TIER_LOW",
        "positions": positions,
        "revision": "7",
        "margin_ratio": "0.008",
        "maintenance_margin_ratio": "0.012",
    }
    fields = {
        "timestamp": moment,
        "level": "info",
        "event": "decision",
        "decision_id": f"{process}-{number}",
        "rpc": "CheckClaim",
        "liquidation_id": liquidation_id,
        "account_id": account,
        "liquidator_id": liquidator,
        "ratio_qty_request": "0.3333",
        "extra_liquidation_ratio": "0",
        "latency_us": int(chance.lognormvariate(6, 0.7)),
        "peer": "ipv4:127.0.0.1:39574",
        "trace_id": "",
        "outcome": "refused" if refused else "accepted",
        "code": code,
        "name": name,
        "message": "least req ratio should = 0.3334" if refused else "",
        "rule": rule,
        "total_notional": "30000",
        "least_req_ratio": "0.3334",
        "margin_ratio": "0.008",
        "maintenance_margin_ratio": "0.012",
        "revision": 7,
        "rules_version": "default",
        "process": process,
        "worker": number % 4,
        "seq": number // 4 + 1,
        "request": {
            "terms": terms,
            "liquidation": liquidation,
            "state": {"closed": False, "liquidator_in_liquidation": False},
        },
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def write(path: Path, lines: int) -> None:
    chance = random.Random(7)
    with path.open("wb") as file:
        for number in range(lines):
            file.write(line(number, chance))


def compare(path: Path, lines: int) -> tuple[float, float]:
    """Seconds that parsing alone, and counting, take for all lines, in turns of a part each."""
    part = lines // ROUNDS
    parsed_s = counted_s = 0.0
    summary = Summary("1m")
    entries = iter(read_lines([path]))
    with path.open("rb") as file:
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for raw in islice(file, part):
                orjson.loads(raw)
            between = time.perf_counter()
            for entry in islice(entries, part):
                summary.add(entry.fields)
            parsed_s += between - begin
            counted_s += time.perf_counter() - between
    assert summary.record(10)["lines"] == part * ROUNDS
    return parsed_s, counted_s


def commands(path: Path) -> Iterator[tuple[str, float, float]]:
    """Each command, with its seconds and the peak of its memory in MiB."""
    program = "import resource, sys; from liquidation.cli import cli; cli(standalone_mode=False)"
    for arguments in (
        ("stats", "--bucket", "1m", "--json"),
        ("tail", "--code", "-1201", "--account", "account-7", "-n", "20"),
        ("tail", "--raw", "--liquidator", "liquidator-1"),
    ):
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", program, "logs", *arguments, str(path)],
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0, arguments
        yield " ".join(arguments), time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.log"
        write(path, lines)
        size = path.stat().st_size / 1024**2
        parsed_s, counted_s = compare(path, lines)
        print(f"{lines:,} lines, {size:,.0f} MiB")
        print(f"orjson alone   {lines / parsed_s:>12,.0f} lines/s")
        print(f"stats          {lines / counted_s:>12,.0f} lines/s")
        print(f"ratio          {parsed_s / counted_s:>12.2f}  (bar: 0.50)")
        for name, seconds, peak in commands(path):
            print(f"{name}: {seconds:.1f} s, peak {peak:.0f} MiB  (bar: 200 MiB)")


if __name__ == "__main__":
    main()
