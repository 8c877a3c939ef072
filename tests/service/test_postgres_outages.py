"""The shared database goes and comes back, in every way that it can: -1011 meanwhile, no more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.background import PROBLEM_KEY
from liquidation.store.locations import PostgresDatabase
from liquidation.v1 import claim_service_pb2 as pb
from liquidation.v1 import liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.postgres.databases import Databases
from tests.postgres.server import PostgresServer, postgres
from tests.service.test_claims import begin_request, token_of
from tests.service.test_faults import NOT_SERVING, SERVING, until
from tests.sidecars import Refused, Running, details_of, running

LIST: Final = "ClaimService.ListClaims"
STREAM: Final = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
PASSWORD: Final = "a-word-that-nobody-may-see"
MOST_CONNECTIONS: Final = 20


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server of this file's own, which the tests harm and mend."""
    with postgres({"max_connections": str(MOST_CONNECTIONS)}) as server:
        yield server


@pytest.fixture(scope="module")
def databases(own: PostgresServer) -> Databases:
    return Databases(own)


@pytest.fixture
def url(databases: Databases, own: PostgresServer) -> Iterator[str]:
    """A database of that server, reached with a password, which the server does not ask for."""
    with databases.lend() as dsn:
        yield dsn.replace("@", f":{PASSWORD}@")
        own.resume()
        with suppress(AssertionError):  # it runs
            own.start()


def asked(number: int) -> dict[str, Any]:
    """What names liquidation `number` of an account of its own."""
    return {
        "terms": {"liquidation_id": number},
        "liquidation": {"liquidation_id": number, "account_id": f"account-{number}"},
    }


async def begin(server: Running, request_id: str, number: int) -> pb.Claim:
    response = await server.call(
        "ClaimService.BeginClaim", begin_request(request_id, **asked(number))
    )
    claim: pb.Claim = response.claim
    return claim


def calls(server: Running, claim: pb.Claim) -> list[Callable[[], Awaitable[Any]]]:
    """A call of each kind that asks the store."""
    token = token_of(claim)
    sound = samples.check(samples.low_request())
    snapshot = samples.snapshot(samples.low(liquidation_id=77, account_id="account-77"))
    requests = {
        "LiquidationRulesService.CheckClaim": sound,
        "ClaimService.BeginClaim": begin_request("another", **asked(55)),
        "ClaimService.RenewClaim": pb.RenewClaimRequest(**token),
        "ClaimService.GetClaim": pb.GetClaimRequest(request_id="r-1"),
        "ClaimService.ListClaims": pb.ListClaimsRequest(),
        "LiquidationService.PutLiquidation": liquidation_service_pb2.PutLiquidationRequest(
            liquidation=snapshot
        ),
        "LiquidationService.GetLiquidation": liquidation_service_pb2.GetLiquidationRequest(
            liquidation_id=88
        ),
        "LiquidationService.CloseLiquidation": liquidation_service_pb2.CloseLiquidationRequest(
            liquidation_id=88
        ),
        "ClaimService.CompleteClaim": pb.CompleteClaimRequest(**token),
    }

    def one(name: str, request: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: server.call(name, request)

    return [one(name, request) for name, request in requests.items()]


async def known(server: Running) -> pb.Claim:
    """A claim that is granted as r-1, and liquidation 88, which nobody claims."""
    snapshot = samples.snapshot(samples.low(liquidation_id=88, account_id="account-88"))
    await server.call(
        "LiquidationService.PutLiquidation",
        liquidation_service_pb2.PutLiquidationRequest(liquidation=snapshot),
    )
    return await begin(server, "r-1", 1)


async def problems(server: Running) -> list[str]:
    """What a health check says is wrong."""
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    call = stub.Check(health_pb2.HealthCheckRequest())
    await call
    return [value for key, value in await call.trailing_metadata() if key == PROBLEM_KEY]


async def test_a_server_that_is_not_there_yet_is_waited_for(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    own.stop()
    async with running(tmp_path, store=PostgresDatabase(url), store_timeout=0.5) as server:
        refused = await server.refused(samples.check(samples.low_request()))
        assert (refused.code, refused.grpc_code) == (-1011, grpc.StatusCode.UNAVAILABLE)
        await until(server, "", NOT_SERVING)
        (problem,) = await problems(server)
        assert "refused" in problem
        assert problem.startswith("store: ")

        own.start()
        await until(server, "", SERVING)
        assert (await server.check(samples.check(samples.low_request()))).decision.accepted
        assert (await begin(server, "r-1", 1)).fencing_token > 0
        assert await problems(server) == []

    assert PASSWORD not in server.log_file.read_text() + problem + str(refused.trailers)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_server_that_ends_and_comes_back_is_used_again_at_once(
    own: PostgresServer, url: str, tmp_path: Path, how: str
) -> None:
    async with running(tmp_path, store=PostgresDatabase(url)) as server:
        claim = await known(server)
        await asyncio.to_thread(own.kill if how == "killed" else own.stop)
        refused = await server.refused(samples.check(samples.low_request()))
        assert refused.code == -1011
        await until(server, "", NOT_SERVING)

        await asyncio.to_thread(own.start)

        for call in calls(server, claim):
            await call()
        await until(server, "", SERVING)
        response = await server.call(
            "ClaimService.GetClaim", pb.GetClaimRequest(claim_id=claim.claim_id)
        )
        assert response.claim.state == pb.CLAIM_STATE_COMPLETED
        assert response.claim.fencing_token == claim.fencing_token


async def test_connections_that_died_in_the_pool_cost_nobody_an_answer(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with running(tmp_path, store=PostgresDatabase(url)) as server:
        claim = await known(server)
        for call in calls(server, claim):
            # As many connections as there may be, all of them dead.
            await asyncio.gather(*(server.call(LIST, pb.ListClaimsRequest()) for _ in range(8)))
            with own.connect() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                    " WHERE application_name = 'liquidation'"
                )
            await call()


async def test_a_server_that_is_frozen_is_waited_for_once_a_call_and_no_longer_than_the_ceiling(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    before = asyncio.all_tasks()
    async with running(tmp_path, store=PostgresDatabase(url), store_timeout=1.0) as server:
        claim = await known(server)
        own.pause()
        async with asyncio.timeout(15):
            outcomes = await asyncio.gather(
                *(call() for call in calls(server, claim)),
                batch(server),
                stream(server),
                return_exceptions=True,
            )
        *single, batched, streamed = outcomes
        assert [isinstance(each, Refused) and each.code for each in single] == [-1011] * len(single)
        assert batched == streamed == {-1011}
        await until(server, "", NOT_SERVING)

        own.resume()
        await until(server, "", SERVING)
        for call in calls(server, claim):
            await call()
        with own.connect() as connection:
            ((sessions,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liquidation'"
            ).fetchall()
        assert 0 < sessions <= 8
    assert asyncio.all_tasks() == before


async def batch(server: Running) -> set[int]:
    """The codes that a batch of 1000 ends with."""
    sound = samples.check(samples.low_request())
    response = await server.call(
        "LiquidationRulesService.BatchCheckClaims",
        rules_service_pb2.BatchCheckClaimsRequest(requests=[sound] * 1000),
    )
    return {code_of(each) for each in response.results}


async def stream(server: Running) -> set[int]:
    """The codes that the items of a stream end with; two, since each waits for itself."""
    sound = samples.check(samples.low_request())
    item = rules_service_pb2.StreamCheckClaimsRequest(correlation_id="1", request=sound)
    call = server.channel.stream_stream(STREAM)()
    codes = set()
    for _ in range(2):
        await call.write(item.SerializeToString())
        response = rules_service_pb2.StreamCheckClaimsResponse.FromString(await call.read())
        codes.add(code_of(response.result))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return codes


def code_of(result: rules_service_pb2.CheckClaimResult) -> int:
    if result.WhichOneof("result") == "accepted":
        return 0
    code: int = details_of(result.refused).error.code
    return code


async def test_a_sidecar_ends_while_its_server_is_frozen_and_leaves_nothing_behind(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(30):
        async with running(tmp_path, store=PostgresDatabase(url), store_timeout=0.5) as server:
            claim = await known(server)
            own.pause()
            waiting = [asyncio.ensure_future(call()) for call in calls(server, claim)]
            await server.lines("store_failed", count=1)
        # Their caller goes first: what became of them nobody hears.
        await asyncio.gather(*waiting, return_exceptions=True)

    assert asyncio.all_tasks() == before


async def test_a_server_without_a_free_connection_is_waited_for(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    with own.connect() as connection:
        connection.execute("CREATE ROLE test_plain LOGIN")
        connection.execute("GRANT ALL ON DATABASE postgres TO test_plain")
    plain = url.replace("test_admin", "test_plain")
    with psycopg.connect(url.replace(f":{PASSWORD}", ""), autocommit=True) as connection:
        connection.execute("GRANT ALL ON SCHEMA public TO test_plain")
    others: list[psycopg.Connection[Any]] = []
    try:
        with suppress(psycopg.OperationalError):  # there is no other connection to be had
            while True:
                others.append(psycopg.connect(plain))
        async with running(tmp_path, store=PostgresDatabase(plain), store_timeout=0.5) as server:
            refused = await server.refused(samples.check(samples.low_request()))
            assert refused.code == -1011
            (problem,) = await problems(server)
            assert "connection slots" in problem

            for each in others:
                each.close()
            await until(server, "", SERVING)
            assert (await begin(server, "r-1", 1)).fencing_token > 0
    finally:
        for each in others:
            each.close()
        with psycopg.connect(url.replace(f":{PASSWORD}", ""), autocommit=True) as connection:
            connection.execute("DROP OWNED BY test_plain")
        with own.connect() as connection:
            connection.execute("DROP OWNED BY test_plain")
            connection.execute("DROP ROLE test_plain")
