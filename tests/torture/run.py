"""One run: servers, clients that do as they like, and a killer."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.rpc import status_pb2

from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.processes import ROOT
from tests.sidecars import details_of, dial
from tests.torture.history import Begin, Change, Found, History

LEASE_S = 2
CALL_S = 3.0


@dataclass(frozen=True)
class Plan:
    """How long and how hard."""

    operations: int = 50_000
    kills: int = 100
    workers: int = 3
    clients: int = 24
    accounts: int = 8
    seed: int = 1
    drop_index: bool = False


@dataclass
class Seen:
    """What the clients of a run see, as they see it."""

    begins: list[Begin] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    answered: int = 0
    kills: int = 0
    full_stops: int = 0
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, seen: Begin | Change) -> None:
        """Notes a call that ended."""
        self.answered += seen.code is not None
        if isinstance(seen, Begin):
            self.begins.append(seen)
        else:
            self.changes.append(seen)
        self._grew.set()

    async def reached(self, operations: int) -> None:
        """Returns once so many calls were answered."""
        while self.operations < operations:
            self._grew.clear()
            await self._grew.wait()

    @property
    def operations(self) -> int:
        """Calls that were answered."""
        return self.answered


class Servers:
    """A supervisor and its workers, which may be killed at any time."""

    def __init__(self, directory: Path, workers: int) -> None:
        self._directory = directory
        self._workers = workers
        self._listen = "127.0.0.1:0"
        self._popen: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return self._listen

    async def start(self) -> None:
        """Starts the supervisor, on the same port as before; returns when it serves."""
        self._popen = await asyncio.to_thread(
            subprocess.Popen,
            [
                sys.executable,
                str(ROOT / "server.py"),
                f"--listen={self._listen}",
                f"--workers={self._workers}",
                "--log-file=decisions.log",
            ],
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._popen is not None
        assert self._popen.stdout is not None
        line = await asyncio.to_thread(self._popen.stdout.readline)
        self._listen = json.loads(line)["addresses"][0]

    def pids(self) -> list[int]:
        """The workers that run now."""
        assert self._popen is not None
        children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        return [
            int(pid)
            for pid in children.read_text().split()
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def kill_one(self, chance: random.Random) -> None:
        """Kills a worker; its supervisor starts it again."""
        if pids := self.pids():
            os.kill(chance.choice(pids), signal.SIGKILL)

    async def kill_all(self) -> None:
        """Kills the supervisor and every worker, and starts anew."""
        assert self._popen is not None
        for pid in (self._popen.pid, *self.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self._popen.communicate)
        await self.start()

    async def stop(self) -> None:
        """Drains and ends."""
        assert self._popen is not None
        self._popen.terminate()
        await asyncio.to_thread(self._popen.communicate)


class Client:
    """A risk backend that begins claims, does something with them, and retries what fails."""

    def __init__(self, name: int, plan: Plan, servers: Servers, seen: Seen, turn: "Turn") -> None:
        self._name = name
        self._plan = plan
        self._servers = servers
        self._seen = seen
        self._turn = turn
        self._chance = random.Random(f"{plan.seed}-{name}")
        self._count = 0

    async def run(self) -> None:
        """Makes calls until the run has enough of them."""
        async with dial(self._servers.address) as channel:
            self._channel = channel
            while not self._turn.over(self._seen):
                await self._episode()

    async def _episode(self) -> None:
        account = self._chance.randrange(self._plan.accounts)
        self._count += 1
        request = begin_request(
            f"{self._name}-{self._count}", account, self._turn.revisions[account]
        )
        begin = await self._begin(request)
        while begin.code is None and self._chance.random() < 0.9:
            begin = await self._begin(request)
        if begin.code == 0:
            await self._use(begin, account)
            if self._chance.random() < 0.1:
                await self._begin(request)

    async def _use(self, begin: Begin, account: int) -> None:
        what = self._chance.choices(["complete", "cancel", "abandon"], [70, 25, 5])[0]
        if self._chance.random() < 0.3:
            await self._change(begin, "renew")
        if what == "abandon":
            return
        change = await self._change(begin, what)
        while change.code is None and self._chance.random() < 0.9:
            change = await self._change(begin, what)
        if what == "complete":
            self._turn.revisions[account] += 1

    async def _begin(self, request: pb.BeginClaimRequest) -> Begin:
        sent = time.time()
        code, response, details = await self._call("BeginClaim", request)
        account_id = request.liquidation.account_id
        begin = Begin(request.request_id, account_id, sent, time.time(), code)
        if code == 0:
            claim = pb.BeginClaimResponse.FromString(response).claim
            begin = Begin(
                request.request_id,
                account_id,
                sent,
                time.time(),
                0,
                claim.claim_id,
                claim.fencing_token,
                claim.expire_time.ToMicroseconds() / 1e6,
            )
        elif details is not None and "last_completed_revision" in details.info.metadata:
            begin = Begin(request.request_id, account_id, sent, time.time(), code, settled=True)
        self._seen.add(begin)
        return begin

    async def _change(self, begin: Begin, what: str) -> Change:
        token: dict[str, Any] = {"claim_id": begin.claim_id, "fencing_token": begin.token}
        method, request = {
            "renew": (
                "RenewClaim",
                ParseDict(token | {"lease_ttl": f"{LEASE_S}s"}, pb.RenewClaimRequest()),
            ),
            "complete": ("CompleteClaim", pb.CompleteClaimRequest(**token)),
            "cancel": ("CancelClaim", pb.CancelClaimRequest(**token)),
        }[what]
        sent = time.time()
        code, response, _ = await self._call(method, request)
        expires = 0.0
        if code == 0 and what == "renew":
            renewed = pb.RenewClaimResponse.FromString(response).claim
            expires = renewed.expire_time.ToMicroseconds() / 1e6
        change = Change(begin.claim_id, what, sent, time.time(), code, expires)
        self._seen.add(change)
        return change

    async def _call(self, method: str, request: Any) -> tuple[int | None, bytes, Any]:
        answer = await call(self._channel, method, request)
        if answer[0] is None:
            # As every client does: not at once again where nobody answers.
            await asyncio.sleep(self._chance.uniform(0, 0.1))
        return answer


class Turn:
    """What the clients of a run share."""

    def __init__(self, plan: Plan) -> None:
        self.revisions = [1] * plan.accounts
        self._operations = plan.operations
        self._kills = plan.kills

    def over(self, seen: Seen) -> bool:
        """Whether the run has all its calls and kills."""
        return seen.operations >= self._operations and seen.kills >= self._kills


async def call(channel: Any, method: str, request: Any) -> tuple[int | None, bytes, Any]:
    """The exchange's code of an answer, 0 for success and None where none came, with the rest."""
    try:
        path = f"/liquidation.v1.ClaimService/{method}"
        return 0, await channel.unary_unary(path)(request.SerializeToString(), timeout=CALL_S), None
    except grpc.aio.AioRpcError as error:
        data = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        if data is None:
            return None, b"", None
        details = details_of(status_pb2.Status.FromString(data))
        # -1011 says that it is not known what became of the call.
        code = details.error.code
        return (None if code == -1011 else code), b"", details


def begin_request(request_id: str, account: int, revision: int) -> pb.BeginClaimRequest:
    """A claim on all that an account has under liquidation."""
    liquidation_id = account + 1
    body = samples.low_request(
        terms={"liquidation_id": liquidation_id},
        liquidation={
            "liquidation_id": liquidation_id,
            "account_id": f"account-{account}",
            "revision": revision,
        },
    )
    return ParseDict(
        body | {"request_id": request_id, "lease_ttl": f"{LEASE_S}s"}, pb.BeginClaimRequest()
    )


async def _kill(plan: Plan, servers: Servers, seen: Seen) -> None:
    """Kills workers, and now and then all of them, evenly over the run's calls."""
    chance = random.Random(f"{plan.seed}-killer")
    for number in range(1, plan.kills + 1):
        due = plan.operations * number // (plan.kills + 1)
        await seen.reached(due)
        await asyncio.sleep(chance.uniform(0, 0.05))
        if number % 10 == 0:
            await servers.kill_all()
            seen.full_stops += 1
        else:
            servers.kill_one(chance)
        seen.kills += 1


@asynccontextmanager
async def _serving(plan: Plan, directory: Path) -> AsyncIterator[Servers]:
    servers = Servers(directory, plan.workers)
    await servers.start()
    try:
        if plan.drop_index:
            connection = sqlite3.connect(directory / "liquidation.db")
            connection.execute("DROP INDEX claim_one_active_per_account")
            connection.close()
        yield servers
    finally:
        await servers.stop()


async def torture(plan: Plan, directory: Path) -> tuple[Seen, History]:
    """Runs the plan with a store in `directory`; returns what was seen."""
    seen, turn = Seen(), Turn(plan)
    async with _serving(plan, directory) as servers:
        killer = asyncio.create_task(_kill(plan, servers, seen))
        clients = [Client(name, plan, servers, seen, turn) for name in range(plan.clients)]
        await asyncio.gather(killer, *(client.run() for client in clients))
        # Every call and every lease is over after this, whatever became of them.
        await asyncio.sleep(CALL_S + LEASE_S)
        async with dial(servers.address) as channel:
            found = {
                begin.claim_id: await _find(channel, begin.claim_id)
                for begin in seen.begins
                if begin.code == 0
            }
            stuck = [
                f"account-{account}"
                for account in range(plan.accounts)
                if not await _takes_a_claim(channel, account, turn.revisions[account] + 10)
            ]
    return seen, History(LEASE_S, seen.begins, seen.changes, found, stuck)


async def _find(channel: Any, claim_id: str) -> Found | None:
    code, response, _ = await call(channel, "GetClaim", pb.GetClaimRequest(claim_id=claim_id))
    if code != 0:
        return None
    claim = pb.GetClaimResponse.FromString(response).claim
    state = pb.ClaimState.Name(claim.state).removeprefix("CLAIM_STATE_")
    return Found(claim_id, claim.fencing_token, state)


async def _takes_a_claim(channel: Any, account: int, revision: int) -> bool:
    request = begin_request(f"last-{account}", account, revision)
    return (await call(channel, "BeginClaim", request))[0] == 0
