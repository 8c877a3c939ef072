"""A shared database that is there and does not answer, or whose connections are dead."""

import asyncio
import threading
from pathlib import Path
from typing import Final

import grpc

from liquidation.store.locations import PostgresDatabase
from liquidation.v1 import claim_service_pb2 as pb
from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.service.postgres_calls import NOT_SERVING, SERVING, calls, known, until
from tests.sidecars import Refused, Running, details_of, running
from tests.store.postgres.server import PostgresServer

LIST: Final = "ClaimService.ListClaims"
STREAM: Final = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"


async def test_a_server_that_is_frozen_is_waited_for_once_a_call_and_no_longer_than_the_ceiling(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with running(tmp_path, store=PostgresDatabase(url), store_timeout=1.0) as server:
        claim = await known(server)
        own.pause()
        outcomes = await asyncio.gather(
            *(call() for call in calls(server, claim)),
            batch(server),
            stream(server),
            return_exceptions=True,
        )
        *single, batched, streamed = outcomes
        assert [isinstance(each, Refused) and each.code for each in single] == [-1011] * len(single)
        assert batched == streamed == {-1011}
        await until(server, NOT_SERVING)

        own.resume()
        await until(server, SERVING)
        for call in calls(server, claim):
            await call()
        with own.connect() as connection:
            ((sessions,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liquidation'"
            ).fetchall()
        assert 0 < sessions <= 8
    assert not store_threads()


def store_threads() -> list[str]:
    """The threads of stores that have not ended."""
    return [each.name for each in threading.enumerate() if each.name == "postgres-store"]


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
    async with running(tmp_path, store=PostgresDatabase(url), store_timeout=1.0) as server:
        claim = await known(server)
        own.pause()
        waiting = [asyncio.ensure_future(call()) for call in calls(server, claim)]
        await server.lines("store_failed", count=1)
    # Their caller goes first: what became of them nobody hears.
    await asyncio.gather(*waiting, return_exceptions=True)

    assert not store_threads()


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
                    # Not one that is being opened just now: it is not in the pool yet.
                    " WHERE application_name = 'liquidation' AND state = 'idle' AND query <> ''"
                )
            await call()
