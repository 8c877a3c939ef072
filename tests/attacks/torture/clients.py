"""Clients that do as they like, and what they see."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import ParseDict

from liquidation.v1 import claim_service_pb2 as pb
from tests.attacks.torture.calls import LEASE_S, begin_request, call, dial
from tests.attacks.torture.history import Begin, Change

# How often a client goes to another sidecar, as behind a load balancer: after a call that was
# answered, and after one that was not.
_MOVES: Final = 0.2
_MOVES_UNANSWERED: Final = 0.5
# How long it waits at most after a call that was not answered, in seconds.
_PAUSE_S: Final = 0.1


class Ending(NamedTuple):
    """When a call was sent, when it ended, and how."""

    sent: float
    ended: float
    how: str


@dataclass
class Seen:
    """What the clients of a run see, as they see it."""

    begins: list[Begin] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    # By sidecar: the BeginClaims that it granted.
    grants: dict[int, list[Begin]] = field(default_factory=lambda: defaultdict(list))
    # Calls that were answered.
    operations: int = 0
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, seen: Begin | Change, how: str, sidecar: int) -> None:
        """Notes a call to a sidecar, and how it ended."""
        self.operations += seen.code is not None
        self.endings.append(Ending(seen.sent, seen.answered, how))
        if isinstance(seen, Change):
            self.changes.append(seen)
        else:
            self.begins.append(seen)
            if seen.code == 0:
                self.grants[sidecar].append(seen)
        self._grew.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Returns once something is true, which is asked after each call."""
        while not true():
            self._grew.clear()
            await self._grew.wait()

    async def reached(self, operations: int) -> None:
        """Returns once so many calls were answered."""
        await self.until(lambda: self.operations >= operations)


@dataclass
class Load:
    """What the clients of a run share: the accounts' revisions, and what all have seen."""

    seed: int
    revisions: list[int]
    seen: Seen = field(default_factory=Seen)
    over: bool = False


class Client:
    """A risk backend that begins claims, does something with them, and retries what fails."""

    def __init__(self, name: int, channels: Sequence[Any], shared: Load) -> None:
        """`channels` lead to the sidecars, one each; any of them will do."""
        self._name = name
        self._channels = channels
        self._sidecar = name % len(channels)
        self._shared = shared
        self._chance = random.Random(f"{shared.seed}-{name}")
        self._count = 0

    async def run(self) -> None:
        """Makes calls until the run is over."""
        while not self._shared.over:
            await self._episode()

    async def _episode(self) -> None:
        account = self._chance.randrange(len(self._shared.revisions))
        self._count += 1
        request = begin_request(
            f"{self._name}-{self._count}", account, self._shared.revisions[account]
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
            self._shared.revisions[account] += 1

    async def _begin(self, request: pb.BeginClaimRequest) -> Begin:
        sent = time.time()
        code, response, ended = await call(self._channel, "BeginClaim", request)
        begin = Begin(request.request_id, request.liquidation.account_id, sent, time.time(), code)
        if code == 0:
            claim = pb.BeginClaimResponse.FromString(response).claim
            begin = replace(
                begin,
                claim_id=claim.claim_id,
                token=claim.fencing_token,
                expires=claim.expire_time.ToMicroseconds() / 1e6,
            )
        elif ended.details is not None:
            settled = "last_completed_revision" in ended.details.info.metadata
            begin = replace(begin, settled=settled)
        await self._note(begin, ended.name)
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
        code, response, ended = await call(self._channel, method, request)
        expires = 0.0
        if code == 0 and what == "renew":
            renewed = pb.RenewClaimResponse.FromString(response).claim
            expires = renewed.expire_time.ToMicroseconds() / 1e6
        change = Change(begin.claim_id, what, sent, time.time(), code, expires)
        await self._note(change, ended.name)
        return change

    @property
    def _channel(self) -> Any:
        return self._channels[self._sidecar]

    async def _note(self, seen: Begin | Change, how: str) -> None:
        self._shared.seen.add(seen, how, self._sidecar)
        unanswered = seen.code is None
        if self._chance.random() < (_MOVES_UNANSWERED if unanswered else _MOVES):
            self._sidecar = self._chance.randrange(len(self._channels))
        if unanswered:
            # As every client does: not at once again where nobody answers.
            await asyncio.sleep(self._chance.uniform(0, _PAUSE_S))


@asynccontextmanager
async def load(
    addresses: Sequence[str], *, clients: int, accounts: int, seed: int
) -> AsyncIterator[Load]:
    """Clients that call all the sidecars at `addresses`, until the end of the block."""
    shared = Load(seed, [1] * accounts)
    async with AsyncExitStack() as opened:
        ways = [
            [await opened.enter_async_context(dial(address)) for address in addresses]
            for _ in range(clients)
        ]
        async with asyncio.TaskGroup() as running:
            for name, channels in enumerate(ways):
                running.create_task(Client(name, channels, shared).run())
            yield shared
            shared.over = True
