"""`liquidation claims`: what a server holds, and an operator's cancel."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from liquidation.client import AsyncLiquidationClient
from liquidation.values import Claim, ClaimTerms, Liquidation, Position, Tier
from tests.cli.commands import on_a_terminal, records, run, run_apart
from tests.sidecars import Running

LOW = Liquidation(
    liquidation_id=101,
    account_id="account-1",
    tier=Tier.LOW,
    positions=(Position("PERP_BTC_USDC", "-0.5", "40000"),),
    margin_ratio="0.008",
    maintenance_margin_ratio="0.012",
    revision=7,
)
ALL = ClaimTerms(101, "liquidator-1", "1", "0.05", limit_price={"PERP_BTC_USDC": "39000"})
FORCED = ("--force", "--reason", "the backend is gone")


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncLiquidationClient]:
    async with AsyncLiquidationClient(server.address) as client:
        yield client


@pytest.fixture
async def active(client: AsyncLiquidationClient) -> Claim:
    """An active claim on account-1, for a minute."""
    return (await client.begin_claim("order-1", ALL, LOW, lease_ttl=timedelta(seconds=60))).claim


async def asked(server: Running, *arguments: str) -> Any:
    """A command on claims, asked of the server."""
    return await run_apart("claims", *arguments, "--address", server.address)


def lines_of(screen: str) -> list[list[str]]:
    return [line.split() for line in screen.splitlines()]


async def test_claims_are_listed_newest_first_and_filtered(
    server: Running, client: AsyncLiquidationClient, active: Claim
) -> None:
    await client.cancel_claim(active.claim_id, active.fencing_token, "no cover")
    other = replace(LOW, liquidation_id=102, account_id="account-2")
    await client.begin_claim("order-2", replace(ALL, liquidation_id=102), other)

    async def listed(*arguments: str) -> list[str]:
        result = await asked(server, "list", "--format", "jsonl", *arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return [each["request_id"] for each in records(result)]

    assert await listed() == ["order-2", "order-1"]
    assert await listed("--state", "active") == ["order-2"]
    assert await listed("--state", "cancelled") == ["order-1"]
    assert await listed("--account", "account-2") == ["order-2"]
    assert await listed("--liquidation-id", "101") == ["order-1"]
    assert await listed("--state", "expired") == []


async def test_a_claim_is_listed_as_protobuf_json(server: Running, active: Claim) -> None:
    (told,) = records(await asked(server, "list", "--format", "jsonl"))

    times = told.pop("begin_time"), told.pop("expire_time")
    assert all(time.endswith("Z") for time in times)
    assert told == {
        "claim_id": active.claim_id,
        "request_id": "order-1",
        "account_id": "account-1",
        "terms": {
            "liquidation_id": "101",
            "liquidator_id": "liquidator-1",
            "ratio_qty_request": "1",
            "extra_liquidation_ratio": "0.05",
            "limit_price": {"PERP_BTC_USDC": "39000"},
        },
        "liquidation_revision": "7",
        "fencing_token": str(active.fencing_token),
        "state": "CLAIM_STATE_ACTIVE",
        "positions": [
            {"symbol": "PERP_BTC_USDC", "qty": "-0.5", "max_qty": "-0.525", "notional": "20000"}
        ],
    }


async def test_more_claims_than_one_page_holds_are_listed(
    server: Running, client: AsyncLiquidationClient
) -> None:
    await asyncio.gather(
        *(
            client.begin_claim(
                f"order-{number}",
                replace(ALL, liquidation_id=number),
                replace(LOW, liquidation_id=number, account_id=f"account-{number}"),
            )
            for number in range(1, 502)
        )
    )

    assert len(records(await asked(server, "list", "--format", "jsonl"))) == 501
    assert lines_of((await asked(server, "list")).stdout)[-1] == ["501", "claims"]


async def test_a_list_on_a_screen_holds_every_id_in_one_piece(
    server: Running, active: Claim
) -> None:
    for columns in (60, 160):
        status, screen = await on_a_terminal(
            "claims", "list", "--address", server.address, columns=columns
        )

        assert status == 0
        assert active.claim_id in screen
        assert "account-1" in screen
        assert "active" in screen
        assert lines_of(screen)[-1] == ["1", "claim"]
        assert max(map(len, screen.splitlines())) <= columns


@pytest.mark.parametrize("by", ["claim_id", "request_id"])
async def test_a_claim_is_shown_with_what_it_takes_and_its_history(
    server: Running, client: AsyncLiquidationClient, active: Claim, by: str
) -> None:
    await client.renew_claim(active.claim_id, active.fencing_token, timedelta(seconds=90))
    await client.cancel_claim(active.claim_id, reason="the backend is gone", force=True)
    name = (active.claim_id,) if by == "claim_id" else ("--request-id", "order-1")

    shown = lines_of((await asked(server, "show", *name)).stdout)

    assert shown[0] == ["Claim", active.claim_id]
    for line in (
        ["state", "cancelled"],
        ["liquidation", "101,", "revision", "7"],
        ["asked", "for", "1,", "and", "0.05", "extra"],
        ["limit", "prices", "PERP_BTC_USDC", "39000"],
        ["fencing", "token", str(active.fencing_token)],
        ["reason", "the", "backend", "is", "gone"],
        ["PERP_BTC_USDC", "-0.5", "-0.525", "20000"],
    ):
        assert line in shown
    history = [line for line in shown if len(line) > 3 and line[0].startswith("20")]
    assert [line[2] for line in history] == ["begin", "renew", "cancel,"]
    assert history[2][3] == "forced"
    assert history[2][-4:] == ["the", "backend", "is", "gone"]


async def test_a_claim_is_shown_as_protobuf_json(server: Running, active: Claim) -> None:
    result = await asked(server, "show", active.claim_id, "--format", "json")

    told = json.loads(result.stdout)
    assert told["claim"]["claim_id"] == active.claim_id
    assert [each["change"] for each in told["history"]] == ["begin"]


async def test_an_operator_cancels_by_force(
    server: Running, client: AsyncLiquidationClient, active: Claim
) -> None:
    result = await asked(server, "cancel", active.claim_id, *FORCED, "--yes")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"Claim {active.claim_id} on account-1 is cancelled.\n"
    found = await client.get_claim(active.claim_id)
    assert (found.history[-1].forced, found.history[-1].reason) == (True, "the backend is gone")
    again = await asked(server, "cancel", active.claim_id, *FORCED, "--yes")
    assert (again.exit_code, again.stdout) == (0, result.stdout)


async def test_without_force_the_token_is_needed_and_must_be_that_of_the_claim(
    server: Running, active: Claim
) -> None:
    why = ("--reason", "no cover", "--yes")
    wrong = str(active.fencing_token + 1)

    refused = await asked(server, "cancel", active.claim_id, "--token", wrong, *why)
    ended = await asked(
        server, "cancel", active.claim_id, "--token", str(active.fencing_token), *why
    )

    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: {server.address}: refused the call: "
        "-1202 The fencing token is not that of the claim.\n"
    )
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("typed", "status", "state"), [("y\n", 0, "CANCELLED"), ("n\n", 1, "ACTIVE")]
)
async def test_an_operator_at_a_terminal_is_asked_first(
    server: Running,
    client: AsyncLiquidationClient,
    active: Claim,
    typed: str,
    status: int,
    state: str,
) -> None:
    command = ("claims", "cancel", active.claim_id, *FORCED, "--address", server.address)

    ended, screen = await on_a_terminal(*command, typed=typed)

    assert ended == status
    assert f"Claim {active.claim_id} is active." in screen
    assert "PERP_BTC_USDC -0.5" in screen
    assert "Cancel it? [y/N]:" in screen
    claim = (await client.get_claim(active.claim_id)).claim
    assert claim.state is not None
    assert claim.state.name == state


async def test_a_claim_that_was_completed_is_not_cancelled(
    server: Running, client: AsyncLiquidationClient, active: Claim
) -> None:
    await client.complete_claim(active.claim_id, active.fencing_token)

    status, screen = await on_a_terminal(
        *("claims", "cancel", active.claim_id, *FORCED, "--address", server.address)
    )

    assert status == 1
    assert "refused the call: -1202 The claim is not active: it is completed." in screen


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nobody"),
        ("show", "--request-id", "nobody"),
        ("cancel", "nobody", *FORCED, "--yes"),
    ],
    ids=" ".join,
)
async def test_a_claim_that_is_not_known_is_told_in_one_line(
    server: Running, arguments: tuple[str, ...]
) -> None:
    result = await asked(server, *arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no claim nobody\n"


async def test_what_the_server_finds_malformed_is_told_with_its_field(
    server: Running, active: Claim
) -> None:
    long = ("--force", "--reason", "x" * 257, "--yes")

    result = await asked(server, "cancel", active.claim_id, *long)

    assert result.exit_code == 1
    assert result.stderr.endswith("(reason must have at most 256 characters)\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("list", "--state", "lost"), "'lost' is not one of"),
        (("list", "--liquidation-id", "0"), "'0' is not a whole number from 1 to"),
        (("list", "--liquidation-id", "9" * 5000), "is not a whole number from 1 to"),
        (("list", "--account", "\udcff"), "is not UTF-8 text"),
        (("list", "--address", "nowhere"), "neither HOST:PORT nor unix:PATH"),
        (("show",), "give CLAIM_ID, or --request-id, and not both"),
        (("show", "c", "--request-id", "r"), "give CLAIM_ID, or --request-id, and not both"),
        (("cancel", "c", "--force"), "Missing option '--reason'"),
        (("cancel", "c", "--force", "--reason", " "), "--reason must say why"),
        (("cancel", "c", "--reason", "why"), "give --token, or --force, which needs none"),
        (("cancel", "c", *FORCED, "--token", "1"), "give --token, or --force, which needs none"),
        (("cancel", "c", *FORCED), "there is no terminal to ask on: give --yes"),
    ],
)
def test_a_wrong_use_is_told_with_status_2(arguments: tuple[str, ...], problem: str) -> None:
    result = run("claims", *arguments)

    assert problem in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")
