"""Sidecars on one PostgreSQL that goes away, hangs and comes back, and a network that breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.json_format import ParseDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.background import PROBLEM_KEY
from liquidation.store.locations import PostgresDatabase
from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.postgres.proxy import Proxy
from tests.postgres.server import PostgresServer, at_port, postgres
from tests.sidecars import Refused, Running, health, running

_T = TypeVar("_T")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# How long a store may take here, in seconds, and how long a call: much longer than it may, and much
# shorter than it would with one such wait for each part of it.
TIMEOUT_S = 0.5
CALL_S = 10.0


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may do harm to."""
    with postgres() as server:
        yield server


@asynccontextmanager
async def sidecar(directory: Path, url: str, name: str = "one") -> AsyncIterator[Running]:
    own = directory / name
    own.mkdir()
    store = PostgresDatabase(url)
    async with running(own, store=store, store_timeout=TIMEOUT_S) as server:
        yield server


async def until(server: Running, status: int, service: str = "") -> None:
    """Returns once the health of a service is `status`."""
    async for response in health(server.channel, service):
        if response.status == status:
            return


async def soon(call: Awaitable[_T]) -> _T:
    async with asyncio.timeout(CALL_S):
        return await call


def check(account: int = 1, **others: Any) -> rules_service_pb2.CheckClaimRequest:
    """A claim on an account's liquidation, whose snapshot comes along."""
    liquidation = {"liquidation_id": account, "account_id": f"account-{account}"}
    terms = {"liquidation_id": account}
    return samples.check(samples.low_request(terms, liquidation, **others))


def begin(request_id: str, account: int = 1) -> claim_service_pb2.BeginClaimRequest:
    message = check(account)
    return claim_service_pb2.BeginClaimRequest(
        request_id=request_id, terms=message.terms, liquidation=message.liquidation
    )


async def granted(server: Running, request_id: str, account: int = 1) -> Any:
    response = await server.call("ClaimService.BeginClaim", begin(request_id, account))
    return response.claim


async def code_of(server: Running, name: str, request: Any) -> int:
    """The exchange's code of a refusal; 0 where there was none."""
    try:
        await soon(server.call(name, request))
    except Refused as refused:
        return refused.code
    return 0


async def codes(server: Running) -> list[int]:
    """What each kind of call is answered, all at the same time."""
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=[check(99)] * 1000)
    *plain, whole = await asyncio.gather(
        code_of(server, "LiquidationRulesService.CheckClaim", check(99)),
        code_of(server, "ClaimService.BeginClaim", begin("r-codes", 77)),
        code_of(server, "ClaimService.GetClaim", claim_service_pb2.GetClaimRequest(claim_id="c")),
        code_of(server, "ClaimService.ListClaims", claim_service_pb2.ListClaimsRequest()),
        soon(server.call("LiquidationRulesService.BatchCheckClaims", batch)),
    )
    refused = {each.WhichOneof("result") for each in whole.results}
    assert len(refused) == 1, "the items of a batch have one store"
    return [*plain, -1011 if refused == {"refused"} else 0]


GONE = [-1011] * 5
# There is no claim "c"; all else is as it should be.
WELL = [0, 0, -1006, 0, 0]


async def problem_of(server: Running) -> str:
    """What a health check tells of the store."""
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    call = stub.Check(health_pb2.HealthCheckRequest())
    await call
    return " ".join(v for k, v in await call.trailing_metadata() if k == PROBLEM_KEY)


async def test_a_database_that_is_not_there_yet_is_waited_for_while_calls_are_refused(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    url = own_server.dsn().replace("@", ":secret-word@")
    own_server.stop()
    async with sidecar(tmp_path, url) as server:
        await until(server, NOT_SERVING)
        assert await codes(server) == GONE
        problem = await problem_of(server)
        assert "refused" in problem
        assert "secret-word" not in problem

        own_server.start()

        await until(server, SERVING)
        assert await codes(server) == WELL
    assert "secret-word" not in (tmp_path / "one" / "decisions.log").read_text()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_after_the_database_was_away_the_first_call_is_answered_and_nothing_is_lost(
    own_server: PostgresServer, tmp_path: Path, end: str
) -> None:
    async with sidecar(tmp_path, own_server.dsn()) as server:
        claim = await granted(server, "r-1")
        # Every connection that the pool keeps is one that breaks.
        await asyncio.gather(*(server.check(check(number)) for number in range(2, 40)))

        getattr(own_server, end)()
        assert await codes(server) == GONE
        await until(server, NOT_SERVING)
        own_server.start()
        await until(server, SERVING)

        assert await codes(server) == WELL
        assert (await granted(server, "r-1")) == claim
        assert await code_of(server, "ClaimService.BeginClaim", begin("r-2")) == -1012
        told = await server.lines("store_unavailable") + await server.lines("store_available")
        assert len(told) == 2


async def test_a_database_that_hangs_holds_nobody_up_for_longer_than_the_store_may_take(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    async with sidecar(tmp_path, own_server.dsn()) as server:
        await granted(server, "r-1")
        own_server.pause()
        try:
            assert await codes(server) == GONE
            await until(server, NOT_SERVING)
        finally:
            own_server.resume()

        await until(server, SERVING)
        # What was asked of it while it hung may have been done: the same request tells.
        assert await codes(server) == WELL
        assert await code_of(server, "ClaimService.BeginClaim", begin("r-2")) == -1012


@pytest.mark.parametrize("how", ["drop", "cut"])
async def test_a_sidecar_that_is_cut_off_refuses_the_others_go_on_and_then_all_agree(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path, how: str
) -> None:
    async with (
        Proxy("127.0.0.1", postgres_server.port) as proxy,
        sidecar(tmp_path, at_port(postgres_database, proxy.port), "cut") as cut,
        sidecar(tmp_path, postgres_database, "well") as well,
    ):
        mine = await granted(cut, "r-mine", 1)
        getattr(proxy, how)()

        assert await codes(cut) == GONE
        await until(cut, NOT_SERVING)
        assert await codes(well) == WELL
        theirs = await granted(well, "r-theirs", 2)
        assert (await granted(well, "r-mine", 1)).claim_id == mine.claim_id

        proxy.heal()
        await until(cut, SERVING)
        assert (await granted(cut, "r-theirs", 2)) == theirs
        assert await code_of(cut, "ClaimService.BeginClaim", begin("r-3", 2)) == -1012
        listed = claim_service_pb2.ListClaimsRequest(page_size=1000)
        name = "ClaimService.ListClaims"
        assert await cut.call(name, listed) == await well.call(name, listed)


async def test_what_one_sidecar_has_granted_every_other_knows_at_once(
    postgres_database: str, tmp_path: Path
) -> None:
    async with (
        sidecar(tmp_path, postgres_database, "a") as one,
        sidecar(tmp_path, postgres_database, "b") as other,
    ):
        for account in range(1, 101):
            granting, asked = (one, other) if account % 2 else (other, one)
            claim = await granted(granting, f"r-{account}", account)
            refused = await asked.refused(check(account))

            assert refused.code == -1012
            assert refused.details is not None
            assert refused.details.info.metadata["claim_id"] == claim.claim_id


async def test_a_stream_goes_on_through_an_outage(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    async with sidecar(tmp_path, own_server.dsn()) as server:
        await until(server, SERVING)
        call = server.channel.stream_stream(
            "/liquidation.v1.LiquidationRulesService/StreamCheckClaims",
            request_serializer=rules_service_pb2.StreamCheckClaimsRequest.SerializeToString,
            response_deserializer=rules_service_pb2.StreamCheckClaimsResponse.FromString,
        )()

        async def ask(name: str) -> str:
            item = {"correlation_id": name}
            message = ParseDict(item, rules_service_pb2.StreamCheckClaimsRequest())
            message.request.CopyFrom(check())
            await call.write(message)
            answer = await soon(call.read())
            assert answer.correlation_id == name
            return str(answer.result.WhichOneof("result"))

        assert await ask("before") == "accepted"
        own_server.kill()
        assert await ask("while it is away") == "refused"
        own_server.start()
        await until(server, SERVING)
        assert await ask("after") == "accepted"
        await call.done_writing()
