"""What many liquidations cost: resident memory, and the time of a check on one of them.

Two servers run side by side, one with few liquidations in its store and one with many. The same
calls go to both in turn; what is told is the ratio of the medians of the interleaved rounds.

    python bench/many_liquidations.py [--few 100] [--many 100000] [--rounds 40] [--calls 100]
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from liquidation.v1 import liquidation_pb2, liquidation_service_pb2, rules_service_pb2

ROOT = Path(__file__).parent.parent
BATCH = 1000
PUT = "/liquidation.v1.LiquidationService/BatchPutLiquidations"
CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"


class Server:
    """A server of its own process, with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self._popen = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "server.py"),
                "--listen=127.0.0.1:0",
                f"--store=sqlite:{directory}/store.db",
                f"--log-file={directory}/decisions.log",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._popen.stdout is not None
        address = json.loads(self._popen.stdout.readline())["addresses"][0]
        self._channel: Any = grpc.insecure_channel(address)
        self._put: Any = self._channel.unary_unary(PUT)
        self._check: Any = self._channel.unary_unary(CHECK)

    def fill(self, count: int) -> float:
        """Puts `count` liquidations; returns the seconds that it took."""
        begun = time.perf_counter()
        for first in range(1, count + 1, BATCH):
            ids = range(first, min(first + BATCH, count + 1))
            request = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=map(_put, ids))
            self._put(request.SerializeToString())
        return time.perf_counter() - begun

    def check(self, ids: list[int]) -> float:
        """Seconds for one check on each of `ids`."""
        requests = [_check(each) for each in ids]
        begun = time.perf_counter()
        for request in requests:
            self._check(request)
        return time.perf_counter() - begun

    def resident_mib(self) -> float:
        """Resident memory of the server."""
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        """Drains the server and waits for its end."""
        self._channel.close()
        self._popen.terminate()
        self._popen.communicate()


@contextmanager
def server() -> Iterator[Server]:
    """A server that is stopped at the end of the block."""
    with tempfile.TemporaryDirectory() as directory:
        started = Server(Path(directory))
        try:
            yield started
        finally:
            started.stop()


def _put(liquidation_id: int) -> liquidation_service_pb2.PutLiquidationRequest:
    return liquidation_service_pb2.PutLiquidationRequest(
        liquidation=liquidation_pb2.Liquidation(
            liquidation_id=liquidation_id,
            account_id=f"account-{liquidation_id}",
            tier=liquidation_pb2.TIER_LOW,
            positions=[
                liquidation_pb2.Position(
                    symbol="PERP_BTC_USDC", position_qty="1.25", mark_price="43210.5"
                ),
                liquidation_pb2.Position(
                    symbol="PERP_ETH_USDC", position_qty="-10", mark_price="2345.67"
                ),
            ],
            margin_ratio="0.01",
            maintenance_margin_ratio="0.012",
            revision=1,
        )
    )


def _check(liquidation_id: int) -> bytes:
    terms = liquidation_pb2.ClaimTerms(
        liquidation_id=liquidation_id, liquidator_id="liquidator-1", ratio_qty_request="0.5"
    )
    return rules_service_pb2.CheckClaimRequest(terms=terms).SerializeToString()


def measure(few: int, many: int, rounds: int, calls: int) -> dict[str, float]:
    """The figures: MiB resident with `many`, and how a check compares with one among `few`."""
    chance = random.Random(1)
    with server() as small, server() as large:
        small.fill(few)
        seconds = large.fill(many)
        times: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(rounds):
            times["few"].append(small.check(chance.choices(range(1, few + 1), k=calls)))
            times["many"].append(large.check(chance.choices(range(1, many + 1), k=calls)))
        medians = {name: statistics.median(each) / calls for name, each in times.items()}
        return {
            "liquidations": many,
            "put_per_second": round(many / seconds),
            "resident_mib": round(large.resident_mib(), 1),
            "resident_mib_of_few": round(small.resident_mib(), 1),
            "check_us_of_few": round(medians["few"] * 1e6),
            "check_us_of_many": round(medians["many"] * 1e6),
            "ratio": round(medians["many"] / medians["few"], 3),
        }


def main() -> None:
    """Measures and prints the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=100)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
