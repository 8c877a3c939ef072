"""Workers that are replaced one by one while callers go on: `python -m tests.attacks.rolling`.

Callers claim and complete, and check, over connections of their own. Whatever was acknowledged is
there at the end. What may be seen of a replacement is UNAVAILABLE, and CANCELLED where a call comes
in the moment in which its connection is told to end: gRPC's server leaves such a call to nobody.
"""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.attacks.plans import plan_of_arguments
from tests.following import Following
from tests.processes import Process, serving
from tests.sidecars import dial

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
CLAIMS = "/liquidation.v1.ClaimService/"


@dataclass(frozen=True)
class Plan:
    """How often all workers are replaced, and under how much load."""

    rounds: int = 20
    workers: int = 2
    callers: int = 8
    # How long a caller waits between calls at most, in milliseconds; 0 calls as fast as it goes.
    think_ms: int = 0


@dataclass
class Seen:
    """What the callers of a run saw."""

    calls: int = 0
    answers: int = 0
    unavailable: int = 0
    cancelled: int = 0
    other_errors: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    replaced: int = 0

    def figures(self) -> dict[str, Any]:
        """The counts, for people."""
        return asdict(self) | {"acknowledged": len(self.acknowledged), "lost": len(self.lost)}


class Caller:
    """Calls on one connection, one call after the other."""

    def __init__(self, name: str, channel: Any, think_ms: int, seen: Seen) -> None:
        self._name = name
        self._channel = channel
        self._think_ms = think_ms
        self._chance = random.Random(name)
        self._seen = seen

    async def call(self, path: str, request: bytes) -> bytes | None:
        """The answer; None where there was an error."""
        if self._think_ms:
            await asyncio.sleep(self._chance.uniform(0, self._think_ms) / 1000)
        self._seen.calls += 1
        try:
            data: bytes = await self._channel.unary_unary(path)(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._seen.unavailable += 1
            elif error.code() is grpc.StatusCode.CANCELLED:
                self._seen.cancelled += 1
            else:
                self._seen.other_errors[f"{error.code().name}: {error.details()}"] += 1
            return None
        self._seen.answers += 1
        return data

    async def until_answered(self, path: str, request: bytes) -> bytes:
        """Sends a request that may be sent again until it is answered, as a backend does."""
        while (data := await self.call(path, request)) is None:
            assert not self._seen.other_errors, self._seen.other_errors
        return data

    async def go_on(self, ended: asyncio.Event) -> None:
        """Claims, checks and completes, account after account."""
        number = 0
        while not ended.is_set():
            number += 1
            request = samples.low_request(
                {"liquidation_id": hash_of(self._name, number)},
                {
                    "liquidation_id": hash_of(self._name, number),
                    "account_id": f"{self._name}-{number}",
                },
            )
            begin = ParseDict(
                request | {"request_id": f"{self._name}-{number}", "lease_ttl": "300s"},
                pb.BeginClaimRequest(),
            )
            data = await self.until_answered(f"{CLAIMS}BeginClaim", begin.SerializeToString())
            claim = pb.BeginClaimResponse.FromString(data).claim
            self._seen.acknowledged[claim.claim_id] = "CLAIM_STATE_ACTIVE"
            await self.call(CHECK, samples.check(samples.low_request()).SerializeToString())
            complete = pb.CompleteClaimRequest(
                claim_id=claim.claim_id, fencing_token=claim.fencing_token
            )
            await self.until_answered(f"{CLAIMS}CompleteClaim", complete.SerializeToString())
            self._seen.acknowledged[claim.claim_id] = "CLAIM_STATE_COMPLETED"


def hash_of(name: str, number: int) -> int:
    """An id of a liquidation that no other caller has."""
    return int(name) * 1_000_000 + number


async def roll(plan: Plan, directory: Path) -> Seen:
    """Replaces all workers, round after round, under load; then looks for what was acknowledged."""
    seen = Seen()
    arguments = ("--listen", "127.0.0.1:0", "--workers", str(plan.workers))
    with serving(directory, *arguments, "--log-file", "decisions.log") as process:
        log = Following(directory / "decisions.log")
        await replaced(log, plan.workers, 0)
        ended = asyncio.Event()
        channels = [dial(process.address) for _ in range(plan.callers)]
        callers = [
            asyncio.create_task(Caller(str(index + 1), channel, plan.think_ms, seen).go_on(ended))
            for index, channel in enumerate(channels)
        ]
        rolling = asyncio.create_task(roll_on(process, log, plan))
        done, _ = await asyncio.wait([rolling, *callers], return_when=asyncio.FIRST_COMPLETED)
        ended.set()
        await asyncio.gather(*done, *callers)
        seen.replaced = rolling.result()
        await look_for(seen, channels[0])
        for channel in channels:
            await channel.close()
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait() == 0
    return seen


async def roll_on(process: Process, log: Following, plan: Plan) -> int:
    """Asks for a replacement when the one before is over; returns how many workers it made."""
    for number in range(1, plan.rounds + 1):
        os.kill(process.popen.pid, signal.SIGUSR2)
        await replaced(log, plan.workers, number)
    return plan.rounds * plan.workers


async def replaced(log: Following, workers: int, times: int) -> None:
    """Returns once all workers were replaced so many times, and those before have stopped."""

    def over(lines: list[dict[str, Any]]) -> bool:
        events = Counter(line["event"] for line in lines)
        begun = events["worker_serving"] == workers * (times + 1)
        return begun and events["stopped"] == workers * times

    await log.until(over)


async def look_for(seen: Seen, channel: Any) -> None:
    """Notes each claim that is not as it was acknowledged."""
    for claim_id, state in seen.acknowledged.items():
        request = pb.GetClaimRequest(claim_id=claim_id).SerializeToString()
        data = await channel.unary_unary(f"{CLAIMS}GetClaim")(request, wait_for_ready=True)
        found = pb.ClaimState.Name(pb.GetClaimResponse.FromString(data).claim.state)
        if found != state:
            seen.lost.append(f"{claim_id}: {found} in place of {state}")


def main() -> int:
    """Rolls as told and prints the figures; the exit status is 1 where something was lost."""
    plan = plan_of_arguments(Plan, "rolling", __doc__)
    with tempfile.TemporaryDirectory() as directory:
        seen = asyncio.run(roll(plan, Path(directory)))
    print(json.dumps(seen.figures(), indent=2))
    return int(bool(seen.lost or seen.other_errors))


if __name__ == "__main__":
    sys.exit(main())
