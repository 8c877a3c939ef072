"""A server in a process of its own that worlds are made in, and asked by each way there is."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from google.rpc import status_pb2

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests.attacks.oracle.cases import Case
from tests.attacks.oracle.worlds import Subject, World
from tests.processes import Process
from tests.sidecars import Refused, Running, dial
from tests.unit.deciding import add_unknown_field

Json = dict[str, Any]
Result = rules_service_pb2.CheckClaimResult

RULES_FILE, LOG = "rules.toml", "decisions.log"
_BATCH = "LiquidationRulesService.BatchCheckClaims"
_STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
# Longer than any world takes.
_LEASE_S = 300
# After so long something is not slow but lost.
_PATIENCE_S = 60


def _message_of(case: Case) -> rules_service_pb2.CheckClaimRequest:
    """The request of a case as it is sent."""
    message = rules_service_pb2.CheckClaimRequest(**case.request)
    if case.unknown_field_in is not None:
        add_unknown_field(message, case.unknown_field_in)
    return message


def plain_begin(
    account_id: str, liquidation_id: int, revision: int, request_id: str, liquidator_id: str
) -> claim_service_pb2.BeginClaimRequest:
    """A claim on a snapshot of its own, which no rule refuses for its numbers."""
    return claim_service_pb2.BeginClaimRequest(
        request_id=request_id,
        terms={
            "liquidation_id": liquidation_id,
            "liquidator_id": liquidator_id,
            "ratio_qty_request": "1",
        },
        liquidation={
            "liquidation_id": liquidation_id,
            "account_id": account_id,
            "tier": "TIER_LOW",
            "positions": [{"symbol": "PERP_BTC_USDC", "position_qty": "1", "mark_price": "1"}],
            "margin_ratio": "0",
            "maintenance_margin_ratio": "1",
            "revision": revision,
        },
        lease_ttl={"seconds": _LEASE_S},
    )


def begin_of(check: Any, request_id: str) -> claim_service_pb2.BeginClaimRequest:
    """A BeginClaim that asks what a CheckClaim asks."""
    begin = claim_service_pb2.BeginClaimRequest(
        request_id=request_id, lease_ttl={"seconds": _LEASE_S}
    )
    for name in ("terms", "liquidation", "liquidator"):
        if check.HasField(name):
            getattr(begin, name).CopyFrom(getattr(check, name))
    return begin


@asynccontextmanager
async def connected(process: Process, directory: Path) -> AsyncIterator["Sidecar"]:
    """The server of a process that runs in `directory`, with its rules and log there."""
    async with dial(process.address) as channel:
        log = directory / LOG
        yield Sidecar(process, Running(process.address, channel, log), directory / RULES_FILE)


@dataclass
class Sidecar:
    """A server, and how worlds are made and asked there."""

    process: Process
    server: Running
    rules_file: Path
    _numbers: Any = field(default_factory=count)

    async def make(self, world: World, rules: str, version: str) -> None:
        """Puts rules in force, and stores what the world has, all through the API."""
        other = self.rules_file.with_name("other.toml")
        other.write_text(rules)
        other.rename(self.rules_file)
        self.process.popen.send_signal(signal.SIGHUP)
        async with asyncio.timeout(_PATIENCE_S):
            while await self._version() != version:
                await asyncio.sleep(0.002)
        await asyncio.gather(*(self._make(world, subject) for subject in world.subjects))

    async def _version(self) -> str:
        name = "LiquidationRulesService.GetRules"
        response = await self.server.call(name, rules_service_pb2.GetRulesRequest())
        return str(response.version)

    async def _make(self, world: World, subject: Subject) -> None:
        """First the claims, each with a snapshot of its own, then what is stored."""
        if (revision := subject.completed_revision) is not None:
            claim = await self._begin_plain(subject, revision)
            ended = claim_service_pb2.CompleteClaimRequest(
                claim_id=claim.claim_id, fencing_token=claim.fencing_token
            )
            await self.server.call("ClaimService.CompleteClaim", ended)
        if subject.is_claimed:
            claim = await self._begin_plain(subject, subject.claimed_revision)
            world.claims[subject.account_id] = claim.claim_id
        if subject.stored is None:
            return
        put = liquidation_service_pb2.PutLiquidationRequest(liquidation=subject.stored)
        assert (await self.server.call("LiquidationService.PutLiquidation", put)).applied
        if subject.closed:
            close = liquidation_service_pb2.CloseLiquidationRequest(
                liquidation_id=subject.liquidation_id
            )
            await self.server.call("LiquidationService.CloseLiquidation", close)

    async def _begin_plain(self, subject: Subject, revision: int) -> Any:
        request = plain_begin(
            subject.account_id, subject.claimed_id, revision, self._request_id(), "other-claimant"
        )
        return (await self.server.call("ClaimService.BeginClaim", request)).claim

    def _request_id(self) -> str:
        return f"begin-{next(self._numbers)}"

    async def by_batch(self, cases: Sequence[Case]) -> list[Result]:
        """The answers to one batch."""
        batch = rules_service_pb2.BatchCheckClaimsRequest(requests=map(_message_of, cases))
        return list((await self.server.call(_BATCH, batch, timeout=120)).results)

    async def by_stream(self, cases: Sequence[Case]) -> list[Result]:
        """The answers to the items of one stream, each under its own correlation id."""
        items = [
            rules_service_pb2.StreamCheckClaimsRequest(
                correlation_id=str(index), request=_message_of(case)
            ).SerializeToString()
            for index, case in enumerate(cases)
        ]
        answers: list[Result] = []
        async for data in self.server.channel.stream_stream(_STREAM)(iter(items), timeout=120):
            answer = rules_service_pb2.StreamCheckClaimsResponse.FromString(data)
            assert answer.correlation_id == str(len(answers))
            answers.append(answer.result)
        return answers

    async def by_calls(self, cases: Sequence[Case]) -> list[Result]:
        """The answers to calls of their own, all at once."""
        return await asyncio.gather(*map(self._check, cases))

    async def _check(self, case: Case) -> Result:
        try:
            return Result(accepted=await self.server.check(_message_of(case)))
        except Refused as refused:
            return Result(refused=_status(refused))

    async def begin(self, case: Case) -> Result:
        """What BeginClaim answers to a request for a check, as a check would."""
        moved = begin_of(_message_of(case), self._request_id())
        try:
            response = await self.server.call("ClaimService.BeginClaim", moved)
        except Refused as refused:
            return Result(refused=_status(refused))
        accepted = rules_service_pb2.CheckClaimResponse(
            decision=response.decision, positions=response.claim.positions
        )
        return Result(accepted=accepted)

    async def lines(self, decision_ids: Collection[str]) -> dict[str, Json]:
        """The lines of decisions, by their ids, once all of them are written; empties the log."""
        found: dict[str, Json] = {}
        log = self.server.log_file
        while not found.keys() >= set(decision_ids):
            await asyncio.sleep(0.005)
            data = log.read_bytes()
            whole = map(json.loads, data[: data.rfind(b"\n") + 1].splitlines())
            found = {
                line["decision_id"]: line
                for line in whole
                if line["event"] in {"decision", "claim"}
            }
        os.truncate(log, 0)
        return found


def _status(refused: Refused) -> status_pb2.Status:
    """The status of a refusal, which the call itself ended with too."""
    details = refused.details
    assert details is not None, refused.message
    ended = (refused.grpc_code.value[0], refused.message)
    assert ended == (details.status.code, details.status.message)
    status: status_pb2.Status = details.status
    return status
