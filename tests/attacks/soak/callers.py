"""Callers of every kind of unary call, right and wrong ones, and such as go away mid-call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.v1 import claim_service_pb2 as claims_pb
from liquidation.v1 import liquidation_service_pb2 as liquidations_pb
from liquidation.v1 import rules_service_pb2 as rules_pb
from tests.attacks.soak import asking
from tests.attacks.soak.asking import Account, Ask
from tests.attacks.soak.calling import CALL_S, Dialled, Pace, code_and_decision
from tests.attacks.soak.server import Server
from tests.attacks.soak.tally import Tally

# Longer than any restart, so that a claim is its caller's until that ends it.
_LEASE_S: Final = 120
# Accounts of one caller on which claims are begun.
ACCOUNTS: Final = 20
_WRONG_KEY: Final = "lq_000000000000_" + 43 * "A"


class Caller(Dialled):
    """Asks one thing after the other: claims, checks, reads and writes, and goes away mid-call."""

    def __init__(self, name: int, server: Server, pace: Pace, tally: Tally, seed: int) -> None:
        """No two have one name."""
        super().__init__(name, server, pace, tally, seed)
        first = name * 10**6
        self._accounts = [Account(f"a-{name}-{n}", first + n) for n in range(1, ACCOUNTS + 1)]
        self._kept = Account(f"kept-{name}", first)
        # For what is begun by callers who go away: nobody knows how such an account stands.
        self._left = Account(f"left-{name}", first + 10**5)
        self._closed = 0
        self._count = 0

    async def run(self, ended: asyncio.Event) -> None:
        """Does one thing after the other until it is told to end."""
        kinds = self._kinds()
        await self._put_kept()
        while not ended.is_set():
            (act,) = self._chance.choices(list(kinds), list(kinds.values()))
            await act()

    def _kinds(self) -> dict[Callable[[], Awaitable[None]], int]:
        return {
            self._check: 30,
            self._refused: 20,
            self._malformed: 10,
            self._stored: 15,
            self._batch: 5,
            self._claim: 12,
            self._put_kept: 8,
            self._open_and_close: 1,
            self._read: 10,
            self._health: 5,
            self._go_away: 5,
            self._wrong_key: 3,
            self._dial_again: 4,
        }

    async def _check(self) -> None:
        await self._once(asking.check(self._chance))

    async def _refused(self) -> None:
        await self._once(asking.refused(self._chance))

    async def _malformed(self) -> None:
        await self._once(asking.malformed(self._chance))

    async def _stored(self) -> None:
        await self._once(asking.stored(self._kept))

    async def _wrong_key(self) -> None:
        ask = asking.check(self._chance)._replace(codes=(-1002,))
        await self._once(ask, key=_WRONG_KEY)

    async def _batch(self) -> None:
        ask, codes = asking.batch(self._chance)
        response = await self._once(ask)
        if response is not None:
            results = rules_pb.BatchCheckClaimsResponse.FromString(response).results
            found = [code_and_decision(result)[0] for result in results]
            if found != codes:
                self._tally.wrong(f"a batch was answered with {found} in place of {codes}")

    async def _put_kept(self) -> None:
        self._kept = self._kept.refreshed()
        await self._put(self._kept)

    async def _put(self, account: Account) -> None:
        put = liquidations_pb.PutLiquidationRequest(liquidation=account.snapshot)
        await self._answered("PutLiquidation", put)

    async def _open_and_close(self) -> None:
        self._closed += 1
        account = Account(f"closed-{self._name}", self._left.liquidation_id + self._closed)
        await self._put(account)
        wanted = account.liquidation_id
        get = liquidations_pb.GetLiquidationRequest(liquidation_id=wanted)
        await self._answered("GetLiquidation", get)
        # One whose answer was lost is not found when it is sent again.
        close = liquidations_pb.CloseLiquidationRequest(liquidation_id=wanted)
        await self._answered("CloseLiquidation", close, 0, -1202)
        await self._once(asking.stored(account, -1202))

    async def _read(self) -> None:
        own = liquidations_pb.ListLiquidationsRequest(account_id=self._kept.name)
        newest = claims_pb.ListClaimsRequest(page_size=20)
        ask = self._chance.choice(
            [
                Ask("GetRules"),
                Ask("ListErrorCodes"),
                Ask("ListLiquidations", own.SerializeToString()),
                Ask("ListClaims", newest.SerializeToString()),
            ]
        )
        await self._once(ask)

    async def _health(self) -> None:
        await self._pace.turn()
        sent = time.monotonic()
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        ask = Ask("Health")
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            self._tally.no_answer(ask, sent, error.code().name)
            return
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            self._tally.answer(ask, 0)
        else:
            self._tally.no_answer(ask, sent, "it does not serve")

    async def _go_away(self) -> None:
        """Sends something, and does not wait for what comes of it."""
        self._count += 1
        begin = asking.begin(self._left, f"left-{self._name}-{self._count}", 1)
        ask = self._chance.choice(
            [asking.check(self._chance), Ask("BeginClaim", begin.SerializeToString())]
        )
        await self._pace.turn()
        call = self._invoked(ask)
        await asyncio.sleep(self._chance.uniform(0, 0.004))
        call.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call
        self._tally.cut_off(ask.rpc)

    async def _claim(self) -> None:
        """A claim from its begin to one of its ends, and what is answered after that."""
        index = self._chance.randrange(ACCOUNTS)
        account = self._accounts[index]
        how = self._chance.choices(["complete", "cancel", "force", "expire"], [60, 25, 5, 10])[0]
        begin = self._begin(account, 1 if how == "expire" else _LEASE_S)
        granted = await self._answered("BeginClaim", begin)
        claim = claims_pb.BeginClaimResponse.FromString(granted).claim
        if how != "expire" and self._chance.random() < 0.5:
            await self._answered("BeginClaim", self._begin(account, _LEASE_S), -1012)
            renew = claims_pb.RenewClaimRequest(
                claim_id=claim.claim_id, fencing_token=claim.fencing_token
            )
            await self._answered("RenewClaim", renew)
            await self._answered("BeginClaim", begin)
        complete = claims_pb.CompleteClaimRequest(
            claim_id=claim.claim_id, fencing_token=claim.fencing_token
        )
        if how == "complete":
            await self._answered("CompleteClaim", complete)
            self._accounts[index] = account.refreshed()
            return
        if how == "expire":
            await self._expired(claim.claim_id)
        else:
            await self._cancel(claim, force=how == "force")
        await self._answered("CompleteClaim", complete, -1202)

    def _begin(self, account: Account, lease_s: int) -> claims_pb.BeginClaimRequest:
        self._count += 1
        return asking.begin(account, f"{self._name}-{self._count}", lease_s)

    async def _cancel(self, claim: claims_pb.Claim, *, force: bool) -> None:
        cancel = claims_pb.CancelClaimRequest(
            claim_id=claim.claim_id, fencing_token=0 if force else claim.fencing_token, force=force
        )
        await self._answered("CancelClaim", cancel)

    async def _expired(self, claim_id: str) -> None:
        """Returns when a claim is known to have run out."""
        state = claims_pb.CLAIM_STATE_ACTIVE
        while state == claims_pb.CLAIM_STATE_ACTIVE:
            await asyncio.sleep(self._chance.uniform(0.5, 1))
            found = await self._answered("GetClaim", claims_pb.GetClaimRequest(claim_id=claim_id))
            state = claims_pb.GetClaimResponse.FromString(found).claim.state
