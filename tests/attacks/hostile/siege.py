"""An attack in full: quiet, attack and quiet again, and what others saw of it."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from tests.attacks.hostile.attack import Attack, Got
from tests.attacks.hostile.bystander import Bystander
from tests.attacks.hostile.server import descriptors, forget_peak, peak_mib, resident_mib
from tests.processes import ROOT, Process
from tests.sidecars import dial

# What an attack takes of the machine, whatever comes of it: a thread that reads what the attacker
# sends, and the attacker, with what nobody else wants.
_COMPUTING = ((), ("nice", "-n", "19"))


@dataclass(frozen=True)
class Plan:
    """How long it is quiet before and after each attack, how long that takes, and how often."""

    quiet_s: float = 4
    attack_s: float = 8
    rounds: int = 2
    # Of what the attack does at once.
    share: float = 1


@dataclass(frozen=True)
class Seen:
    """What was seen of an attack; times are seconds, memory is MiB."""

    attack: Attack
    got: Got
    before: float
    peak: float
    after: float
    files: tuple[int, int]
    # How long others wait at the 99th percentile: in quiet, beside processes that only compute, and
    # while it is attacked.
    quiet: float
    busy: float
    attacked: float
    errors: Counter[str]

    @property
    def ratio(self) -> float:
        """How many times as long as in quiet others wait."""
        return self.attacked / self.quiet

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        grown = self.peak - self.before
        unexpected = [
            each
            for each in self.got
            if each != "times" and not re.fullmatch(self.attack.gets, each)
        ]
        return [
            *(f"others got {each}" for each in self.errors),
            *(f"the attacker got {each}" for each in unexpected),
            *([f"memory grew by {grown:.0f} MiB"] if grown > self.attack.grows_mib else []),
            *([f"descriptors: {self.files}"] if self.files[1] > self.files[0] else []),
            *([f"p99 is {self.ratio:.1f} times as long"] if self.ratio > 2 else []),
        ]


async def besiege(process: Process, attack: Attack, plan: Plan) -> Seen:
    """What is seen of an attack on a server that runs."""
    pid = process.popen.pid
    errors: Counter[str] = Counter()
    quiet: list[float] = []
    busy: list[float] = []
    attacked: list[float] = []
    got = Got()
    async with dial(process.address) as channel:
        await Bystander(channel).call()
        before, files = resident_mib(pid), descriptors(pid)
        forget_peak(pid)
        quiet += await _measured(channel, plan.quiet_s, errors)
        for _ in range(plan.rounds):
            attacker = await _begun(process.address, attack, plan)
            attacked += await _measured(channel, plan.attack_s, errors)
            output, _ = await attacker.communicate(b"")
            got.update(json.loads(output))
            quiet += await _measured(channel, plan.quiet_s, errors)
        async with _computing():
            busy += await _measured(channel, plan.quiet_s, errors)
        return Seen(
            attack,
            got,
            before,
            peak_mib(pid),
            resident_mib(pid),
            (files, descriptors(pid)),
            _p99(quiet),
            _p99(busy),
            _p99(attacked),
            errors,
        )


@asynccontextmanager
async def _computing() -> AsyncIterator[None]:
    """While the block runs, other processes compute as hard as they can."""
    endless = (sys.executable, "-c", "while True: pass")
    begun = [await asyncio.create_subprocess_exec(*nice, *endless) for nice in _COMPUTING]
    try:
        yield
    finally:
        for each in begun:
            each.kill()
            await each.wait()


async def _begun(address: str, attack: Attack, plan: Plan) -> asyncio.subprocess.Process:
    many = max(int(attack.long * plan.share), 1)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.hostile.attacker", attack.name, address, str(many)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _measured(channel: grpc.aio.Channel, seconds: float, errors: Counter[str]) -> list[float]:
    """How long calls take, one after the other, for so many seconds."""
    bystander = Bystander(channel)
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, ended.set)
    while not ended.is_set():
        try:
            await bystander.go_on(ended)
        except (AssertionError, grpc.aio.AioRpcError) as error:
            errors[str(error)] += 1
    return bystander.seconds


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else float("inf")
