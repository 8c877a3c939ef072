"""A sidecar in a process of its own, whose store commits as a benchmark asks for.

python -m bench.sidecar GROUP LANES [FLAGS OF `liquidation serve`]
"""

import asyncio
import atexit
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

import grpc
from google.protobuf.duration_pb2 import Duration

from bench.claims import LEASE_S
from bench.stores import Committing, open_store
from liquidation import cli
from liquidation.server import grpc_environment, serving
from liquidation.store.locations import PostgresDatabase, StoreLocation
from liquidation.v1 import (
    claim_service_pb2,
    liquidation_pb2,
    liquidation_service_pb2,
    rules_service_pb2,
)

__all__ = ["Sidecar", "sidecar"]

ROOT: Final = Path(__file__).parent.parent
BEGIN: Final = "/liquidation.v1.ClaimService/BeginClaim"
CHECK: Final = "/liquidation.v1.LiquidationRulesService/CheckClaim"
PUT: Final = "/liquidation.v1.LiquidationService/BatchPutLiquidations"

# Connections to a sidecar, each used by every so many-th call.
CHANNELS: Final = 8


@dataclass
class Committed:
    """What a sidecar's store has committed: how many writes, in how many commits."""

    writes: int = 0
    commits: int = 0

    def note(self, writes: int, _seconds: float) -> None:
        self.writes += writes
        self.commits += 1


@dataclass
class Sidecar:
    """A server that takes calls; what it has committed is told when it has ended."""

    # By path, on each of its connections.
    calls: dict[str, list[Any]]
    committed: Committed = field(default_factory=Committed)

    async def begin(self, number: int) -> None:
        """Begins a claim on an account of its own, with its snapshot."""
        await self._call(BEGIN, number, _begin(number))

    async def check(self, number: int) -> None:
        """Checks a claim on a liquidation that `put` has stored."""
        await self._call(CHECK, number, _check(number))

    async def put(self, numbers: Iterable[int]) -> None:
        """Stores liquidations, up to 1000."""
        puts = [
            liquidation_service_pb2.PutLiquidationRequest(liquidation=_liquidation(number))
            for number in numbers
        ]
        request = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=puts)
        await self._call(PUT, 0, request.SerializeToString())

    async def _call(self, path: str, number: int, request: bytes) -> None:
        await self.calls[path][number % CHANNELS](request)


@asynccontextmanager
async def sidecar(
    location: StoreLocation, how: Committing, directory: Path
) -> AsyncIterator[Sidecar]:
    """A sidecar with its log in `directory`, ended after the block."""
    store = location.url if isinstance(location, PostgresDatabase) else location.told
    popen = await asyncio.to_thread(
        subprocess.Popen,
        [
            *(sys.executable, "-m", "bench.sidecar", str(how.group), str(how.lanes)),
            *("--listen=127.0.0.1:0", f"--store={store}", f"--log-file={directory}/decisions.log"),
        ],
        cwd=ROOT,
        # As the service sets it for itself, which comes too late here: gRPC is imported above.
        env={**os.environ, grpc_environment.EXPERIMENTS: "-event_engine_listener"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert popen.stdout is not None
    try:
        line = await asyncio.to_thread(popen.stdout.readline)
        assert line, "the sidecar did not start"
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(_channel(json.loads(line)["addresses"][0], number))
                for number in range(CHANNELS)
            ]
            running = Sidecar(
                {
                    path: [each.unary_unary(path) for each in channels]
                    for path in (BEGIN, CHECK, PUT)
                }
            )
            yield running
    finally:
        popen.terminate()
        told, _ = await asyncio.to_thread(popen.communicate)
    running.committed = Committed(**json.loads(told.splitlines()[-1]))


def _channel(address: str, number: int) -> Any:
    # Channels that differ in nothing would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("bench.channel", number)]
    return grpc.aio.insecure_channel(address, options)


def _liquidation(number: int) -> liquidation_pb2.Liquidation:
    return liquidation_pb2.Liquidation(
        liquidation_id=number,
        account_id=f"account-{number}",
        tier=liquidation_pb2.TIER_LOW,
        positions=[
            liquidation_pb2.Position(
                symbol="PERP_BTC_USDC", position_qty="1.25", mark_price="43210.5"
            )
        ],
        margin_ratio="0.01",
        maintenance_margin_ratio="0.012",
        revision=1,
    )


def _terms(number: int) -> liquidation_pb2.ClaimTerms:
    return liquidation_pb2.ClaimTerms(
        liquidation_id=number, liquidator_id="liquidator-1", ratio_qty_request="1"
    )


def _begin(number: int) -> bytes:
    return claim_service_pb2.BeginClaimRequest(
        request_id=f"claim-{number}",
        terms=_terms(number),
        liquidation=_liquidation(number),
        lease_ttl=Duration(seconds=LEASE_S),
    ).SerializeToString()


def _check(number: int) -> bytes:
    return rules_service_pb2.CheckClaimRequest(terms=_terms(number)).SerializeToString()


def main() -> None:
    """Serves until SIGTERM; the last line on standard output is what was committed."""
    _, group, lanes, *flags = sys.argv
    how, committed = Committing(int(group), int(lanes)), Committed()

    async def opened(location: StoreLocation, **told: Any) -> Any:
        observer = told.pop("committed")

        def note(writes: int, seconds: float) -> None:
            committed.note(writes, seconds)
            observer(writes, seconds)

        return await open_store(location, how, **told, committed=note)

    atexit.register(lambda: print(json.dumps(vars(committed)), flush=True))
    with mock.patch.object(serving, "open_store", opened):
        cli.main(["serve", *flags])


if __name__ == "__main__":
    main()
