"""Two sidecars on one database, and a network that fails one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import pytest

from liquidation.store.locations import PostgresDatabase
from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.service.postgres_calls import NOT_SERVING, SERVING, until
from tests.service.test_claims import begin_request, token_of
from tests.sidecars import Refused, Running, running
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import HOST, at_port

# What goes to the database with the change of a claim, and with its COMMIT.
CHANGE: Final = b'"lease_us":'
# How long the sidecar that is cut off waits for the database; the other one waits as long as may
# be configured, so that a slow machine is no reason to be refused.
FAR_TIMEOUT_S: Final = 2.0
NEAR_TIMEOUT_S: Final = 10.0


class Two(NamedTuple):
    """A sidecar whose way to the database is the proxy, and one whose way is not."""

    far: Running
    near: Running
    proxy: Proxy


@pytest.fixture
async def two(postgres_database: str, tmp_path: Path) -> AsyncIterator[Two]:
    port = psycopg.conninfo.conninfo_to_dict(postgres_database)["port"]
    assert port is not None
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(HOST, int(port)))

        async def sidecar(name: str, url: str, timeout_s: float) -> Running:
            directory = tmp_path / name
            directory.mkdir()
            server = await stack.enter_async_context(
                running(directory, store=PostgresDatabase(url), store_timeout=timeout_s)
            )
            await until(server, SERVING)
            return server

        far = await sidecar("far", at_port(postgres_database, proxy.port), FAR_TIMEOUT_S)
        near = await sidecar("near", postgres_database, NEAR_TIMEOUT_S)
        yield Two(far, near, proxy)


def request(request_id: str, number: int, **liquidation: Any) -> pb.BeginClaimRequest:
    """A claim on liquidation `number` of an account of its own."""
    return begin_request(
        request_id,
        terms={"liquidation_id": number},
        liquidation={"liquidation_id": number, "account_id": f"account-{number}"} | liquidation,
    )


async def begin(server: Running, request_id: str, number: int, **liquidation: Any) -> pb.Claim:
    response = await server.call(
        "ClaimService.BeginClaim", request(request_id, number, **liquidation)
    )
    claim: pb.Claim = response.claim
    return claim


async def complete(server: Running, claim: pb.Claim) -> pb.Claim:
    response = await server.call(
        "ClaimService.CompleteClaim", pb.CompleteClaimRequest(**token_of(claim))
    )
    ended: pb.Claim = response.claim
    return ended


async def listed(server: Running) -> list[pb.Claim]:
    response = await server.call("ClaimService.ListClaims", pb.ListClaimsRequest(page_size=1000))
    return list(response.claims)


@pytest.mark.parametrize("how", ["drop", "cut"])
async def test_a_sidecar_that_is_cut_off_refuses_while_the_other_goes_on_and_then_both_agree(
    two: Two, how: str
) -> None:
    first = await begin(two.far, "r-1", 1)
    assert first in await listed(two.near)
    over = asyncio.Event()

    async def go_on() -> int:
        rounds = 0
        while not over.is_set() or rounds < 10:
            rounds += 1
            # The account waits for a newer snapshot after each claim that is completed.
            await complete(two.near, await begin(two.near, f"near-{rounds}", 2, revision=rounds))
        return rounds

    if how == "drop":
        two.proxy.drop()
    else:
        two.proxy.cut()
    going_on = asyncio.create_task(go_on())
    refused = await asyncio.gather(
        two.far.refused(samples.check(samples.low_request())),
        two.far.refused(request("r-3", 3), "ClaimService.BeginClaim"),
        two.far.refused(pb.GetClaimRequest(request_id="r-1"), "ClaimService.GetClaim"),
        two.far.refused(pb.CompleteClaimRequest(**token_of(first)), "ClaimService.CompleteClaim"),
    )
    assert [each.code for each in refused] == [-1011] * 4
    await until(two.far, NOT_SERVING)
    await until(two.near, SERVING)
    over.set()
    assert await going_on >= 10

    two.proxy.heal()
    await until(two.far, SERVING)
    ended = await complete(two.near, first)
    assert await complete(two.far, first) == ended
    again = await begin(two.far, "r-3", 3)
    assert again == await begin(two.near, "r-3", 3)
    assert await listed(two.far) == await listed(two.near)


async def test_what_one_sidecar_has_acknowledged_every_other_knows_at_once(two: Two) -> None:
    one, other = two.far, two.near
    for turn in range(100):
        claim = await begin(one, f"r-{turn}", 1, revision=turn + 1)
        check = samples.low_request(
            {"liquidation_id": 1},
            {"liquidation_id": 1, "account_id": "account-1", "revision": turn + 1},
        )
        refused = await other.refused(samples.check(check))
        assert (refused.code, refused.message) == (-1012, "Another liquidation is in process")
        await complete(other, claim)
        refused = await one.refused(samples.check(check))
        assert refused.code == -1012, "the positions are not refreshed yet"
        one, other = other, one


async def test_a_claim_whose_commit_was_not_answered_is_granted_and_told_once(two: Two) -> None:
    lost = two.proxy.lose_answer_to(CHANGE)

    claim = await begin(two.far, "r-1", 1)

    assert lost.is_set()
    assert await listed(two.near) == [claim]
    (line,) = await two.far.lines("claim", count=1)
    assert (line["claim_id"], line["known"], line["code"]) == (claim.claim_id, False, 0)
    response = await two.near.call("ClaimService.BeginClaim", request("r-1", 1))
    assert response.claim == claim
    assert response.decision.decision_id == line["decision_id"]
    (opened,) = await two.far.lines("liquidation", count=1)
    assert int(opened["liquidation_id"]) == 1
    assert await two.near.lines("liquidation") == []
    assert await two.far.lines("store_failed") == []


async def test_a_renewal_and_an_end_whose_commits_were_not_answered_are_answered(two: Two) -> None:
    claim = await begin(two.far, "r-1", 1)
    lost = two.proxy.lose_answer_to(CHANGE)
    renewal = pb.RenewClaimRequest(**token_of(claim))
    renewed = (await two.far.call("ClaimService.RenewClaim", renewal)).claim
    assert lost.is_set()
    assert renewed.expire_time.ToMicroseconds() > claim.expire_time.ToMicroseconds()
    assert await listed(two.near) == [renewed]

    lost = two.proxy.lose_answer_to(CHANGE)
    ended = await complete(two.far, claim)
    assert lost.is_set()
    assert ended.state == pb.CLAIM_STATE_COMPLETED
    assert await listed(two.near) == [ended]
    assert [line["change"] for line in await two.far.lines("claim", count=3)] == [
        "begin",
        "renew",
        "complete",
    ]


async def test_a_sidecar_that_is_cut_off_with_its_commit_unanswered_refuses_and_the_claim_is_kept(
    two: Two,
) -> None:
    lost = two.proxy.lose_answer_to(CHANGE)
    beginning = asyncio.create_task(begin(two.far, "r-1", 1))
    await lost.wait()
    two.proxy.drop()
    with pytest.raises(Refused) as raised:
        await beginning
    assert raised.value.code == -1011

    (claim,) = await listed(two.near)
    assert await begin(two.near, "r-1", 1) == claim
    two.proxy.heal()
    await until(two.far, SERVING)
    assert await begin(two.far, "r-1", 1) == claim
    assert (await two.far.refused(request("r-2", 1), "ClaimService.BeginClaim")).code == -1012


async def test_a_slow_network_is_no_reason_to_refuse(two: Two) -> None:
    two.proxy.delay(0.02)

    claim = await begin(two.far, "r-1", 1)

    assert (await complete(two.far, claim)).state == pb.CLAIM_STATE_COMPLETED
    await until(two.far, SERVING)
