"""How fast, and in how much memory, `liquidation logs` reads a long log.

A log of 1,000,000 lines with ten thousands of accounts is read by each command and, as a baseline,
by a program that only parses each line. They take turns; the figures are medians.

    python -m bench.log_stats [--lines N] [--rounds N]
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import orjson

from bench import table

__all__ = ["main", "measure", "write"]

START: Final = 1_795_000_000
REFUSALS: Final = (
    (-1201, "LIQUIDATION_REQUEST_RATIO_TOO_SMALL", "least_request_ratio"),
    (-1012, "RPC_REJECT", "no_claim_in_process"),
    (-1005, "INVALID_PARAM", "well_formed"),
)
_POSITIONS: Final = [
    {"symbol": "PERP_BTC_USDC", "position_qty": "0.5", "mark_price": "40000"},
    {"symbol": "PERP_ETH_USDC", "position_qty": "-4", "mark_price": "2500"},
]
_PARSE: Final = "import orjson, sys\nfor line in open(sys.argv[1], 'rb'): orjson.loads(line)"
_LOGS: Final = ("-m", "liquidation.cli", "logs")
_COMMANDS: Final = {
    "parsing alone": ("-c", _PARSE),
    "logs stats": (*_LOGS, "stats", "--bucket", "1m", "--json"),
    "logs tail, filtered": (*_LOGS, "tail", "--code", "-1201", "--account", "account-7"),
}


def line(number: int, chance: random.Random) -> bytes:
    """A line as long as one of the service's."""
    refused = chance.random() < 0.4
    code, name, rule = chance.choice(REFUSALS) if refused else (0, "", "")
    process = f"{number % 4:016x}"
    liquidation_id, account = chance.randrange(1, 60_000), f"account-{chance.randrange(60_000)}"
    liquidator = f"liquidator-{int(chance.paretovariate(0.7)) % 5_000}"
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(START + number / 50))
    terms = {"liquidation_id": str(liquidation_id), "liquidator_id": liquidator}
    ratios = {"ratio_qty_request": "0.3333", "extra_liquidation_ratio": "0"}
    margins = {"margin_ratio": "0.008", "maintenance_margin_ratio": "0.012"}
    liquidation = {
        "liquidation_id": str(liquidation_id),
        "account_id": account,
        "tier": "TIER_LOW",
        "positions": _POSITIONS,
        "revision": "7",
        **margins,
    }
    fields = {
        "timestamp": f"{moment}.{number % 50 * 20_000:06}Z",
        "level": "info",
        "event": "decision",
        "decision_id": f"{process}-{number}",
        "rpc": "CheckClaim",
        "liquidation_id": liquidation_id,
        "account_id": account,
        "liquidator_id": liquidator,
        **ratios,
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
        **margins,
        "revision": 7,
        "rules_version": "default",
        "process": process,
        "worker": number % 4,
        "seq": number // 4 + 1,
        "request": {
            "terms": {**terms, **ratios},
            "state": {
                "closed": False,
                "liquidator_in_liquidation": False,
                "liquidation": liquidation,
            },
        },
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def write(path: Path, lines: int) -> None:
    """Writes so many lines."""
    chance = random.Random(7)
    with path.open("wb") as file:
        for number in range(lines):
            file.write(line(number, chance))


def measure(path: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Of each command the median of its seconds, and the peak of its memory in MiB."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in _COMMANDS}
    for _ in range(rounds):
        for name, command in _COMMANDS.items():
            taken[name].append(_run([sys.executable, *command, str(path)]))
    return {
        name: (statistics.median(seconds for seconds, _ in each), max(peak for _, peak in each))
        for name, each in taken.items()
    }


def _run(command: list[str]) -> tuple[float, float]:
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.log"
        write(path, arguments.lines)
        size = path.stat().st_size / 2**20
        figures = measure(path, arguments.rounds)
    alone, _ = figures["parsing alone"]
    print(f"{table.machine()}; {arguments.lines:,} lines, {size:,.0f} MiB", "", sep="\n")
    print(*table.head("what", "lines/s", "against parsing alone", "peak MiB"), sep="\n")
    for name, (seconds, peak) in figures.items():
        rate = f"{arguments.lines / seconds:,.0f}"
        print(table.row((name, rate, f"{alone / seconds:.2f} ×", f"{peak:.0f}")))


if __name__ == "__main__":
    main()
