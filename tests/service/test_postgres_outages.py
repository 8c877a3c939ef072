"""The shared database goes and comes back, in every way that it can: -1011 meanwhile, no more."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from liquidation.store.locations import PostgresDatabase
from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.service.postgres_calls import (
    NOT_SERVING,
    PASSWORD,
    SERVING,
    begin,
    calls,
    known,
    problems,
    until,
)
from tests.sidecars import running
from tests.store.postgres.server import PostgresServer


async def test_a_server_that_is_not_there_yet_is_waited_for(
    own: PostgresServer, url: str, tmp_path: Path
) -> None:
    own.stop()
    async with running(tmp_path, store=PostgresDatabase(url), store_timeout=1.0) as server:
        refused = await server.refused(samples.check(samples.low_request()))
        assert (refused.code, refused.grpc_code) == (-1011, grpc.StatusCode.UNAVAILABLE)
        await until(server, NOT_SERVING)
        (problem,) = await problems(server)
        assert "refused" in problem
        assert problem.startswith("store: ")

        own.start()
        await until(server, SERVING)
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
        await until(server, NOT_SERVING)

        await asyncio.to_thread(own.start)

        for call in calls(server, claim):
            await call()
        await until(server, SERVING)
        response = await server.call(
            "ClaimService.GetClaim", pb.GetClaimRequest(claim_id=claim.claim_id)
        )
        assert response.claim.state == pb.CLAIM_STATE_COMPLETED
        assert response.claim.fencing_token == claim.fencing_token


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
        async with running(tmp_path, store=PostgresDatabase(plain), store_timeout=1.0) as server:
            refused = await server.refused(samples.check(samples.low_request()))
            assert refused.code == -1011
            (problem,) = await problems(server)
            assert "connection slots" in problem

            for each in others:
                each.close()
            await until(server, SERVING)
            assert (await begin(server, "r-1", 1)).fencing_token > 0
    finally:
        for each in others:
            each.close()
        with psycopg.connect(url.replace(f":{PASSWORD}", ""), autocommit=True) as connection:
            connection.execute("DROP OWNED BY test_plain")
        with own.connect() as connection:
            connection.execute("DROP OWNED BY test_plain")
            connection.execute("DROP ROLE test_plain")
