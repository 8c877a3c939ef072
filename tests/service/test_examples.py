"""The examples run against a real server and print what they say they do."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.rules.policy import RULE_NAMES, Mode, Policy, read_policy
from tests.sidecars import Refused, Running

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

CHECK_CLAIM = """\
refused: -1201 LIQUIDATION_REQUEST_RATIO_TOO_SMALL: least req ratio should = 0.625
  by the rule least_request_ratio, on PERP_DOGE_USDC
  as REST: 400 {'success': False, 'code': -1201, 'message': 'least req ratio should = 0.625'}
accepted: 28000 USDC on the requested symbols
  PERP_SOL_USDC 50 worth 10000 USDC
  PERP_DOGE_USDC -50000 worth 5000 USDC
"""
PLAIN_GRPCIO = """\
refused: -1201 LIQUIDATION_REQUEST_RATIO_TOO_SMALL: least req ratio should = 0.3334
accepted: 0.3334 of 30000 USDC
  PERP_BTC_USDC 0.1667 worth 6668 USDC
  PERP_ETH_USDC -1.3336 worth 3334 USDC
"""
STREAM_CLAIMS = """\
ratio 0.1: -1201 least req ratio should = 0.1667
ratio 0.1667: accepted, -0.25005 PERP_BTC_USDC
ratio 1: accepted, -1.5 PERP_BTC_USDC
ratio 1.5: -1005 ratio_qty_request should be in range 0-1.
ratio half: -1005 Some parameters are in wrong format for api.
"""
CLAIM_AND_TRANSFER = """\
refused: -1201 least req ratio should = 0.3334
  ask for 0.3334 or more, as a new request
claimed 0.5 of liquidation 505
  PERP_BTC_USDC 0.25 transferred
  lease renewed
  PERP_ETH_USDC -2 transferred
completed
refused: -1012 Another liquidation is in process
  the account was just taken from: put a newer snapshot of it, then ask again
"""
PRINTS = {
    "check_claim.py": CHECK_CLAIM,
    "claim_and_transfer.py": CLAIM_AND_TRANSFER,
    "plain_grpcio.py": PLAIN_GRPCIO,
    "stream_claims.py": STREAM_CLAIMS,
}
# Run in service/test_listening_process.py: it needs a server with certificates.
MUTUAL_TLS = "mutual_tls.py"
# Run in deploy/test_docs.py, as the README shows it.
FIRST_CALL = "first_call.py"


@asynccontextmanager
async def losing_first_answers(server: Running) -> AsyncIterator[str]:
    """The address of a server between, which hands every call on.

    The first answer to a request is lost on its way back, that to the same request again is not.
    """
    answered: set[tuple[str, bytes]] = set()

    async def hand_on(path: str, request: bytes, context: Any) -> bytes:
        service, method = path.removeprefix("/liquidation.v1.").split("/")
        try:
            response = await server.raw(f"{service}.{method}", request)
        except Refused as refused:
            await context.abort(refused.grpc_code, refused.message, tuple(refused.trailers.items()))
        if (path, request) in answered:
            return response
        answered.add((path, request))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        raise AssertionError("abort raises")

    class Between(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                partial(hand_on, handler_call_details.method)
            )

    between = grpc.aio.server()
    between.add_generic_rpc_handlers([Between()])
    port = between.add_insecure_port("127.0.0.1:0")
    await between.start()
    yield f"127.0.0.1:{port}"
    await between.stop(None)


async def run_python(*arguments: str | Path) -> str:
    """What Python prints when it runs a script or a module; fails where it ends with an error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return printed.decode()


@pytest.mark.parametrize("name", PRINTS)
async def test_an_example_prints_what_a_reader_is_told_to_expect(
    server: Running, name: str
) -> None:
    assert await run_python(EXAMPLES / name, server.address) == PRINTS[name]


@pytest.mark.parametrize("name", ["stream_claims.py", "claim_and_transfer.py"])
async def test_an_example_that_stores_a_liquidation_can_be_run_again(
    server: Running, name: str
) -> None:
    for _ in range(2):
        assert await run_python(EXAMPLES / name, server.address) == PRINTS[name]


async def test_the_example_of_a_claim_asks_again_where_an_answer_is_lost(server: Running) -> None:
    async with losing_first_answers(server) as address:
        printed = await run_python(EXAMPLES / "claim_and_transfer.py", address)

    assert printed == CLAIM_AND_TRANSFER
    begun = [line for line in await server.lines("claim") if line["change"] == "begin"]
    granted = [line for line in begun if line["outcome"] == "accepted"]
    assert [line["known"] for line in granted] == [False, True]
    assert len({line["claim_id"] for line in granted}) == 1
    ended = [line for line in await server.lines("claim") if line["change"] == "complete"]
    assert [line["outcome"] for line in ended] == ["accepted", "accepted"]


def test_every_python_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PRINTS, MUTUAL_TLS, FIRST_CALL}


@pytest.mark.parametrize(
    ("example", "command"),
    [(f"{name}", f"python examples/{name}") for name in (*PRINTS, MUTUAL_TLS, FIRST_CALL)]
    + [("node/check_claim.mjs", "node check_claim.mjs"), ("go/main.go", "go run .")],
)
def test_an_example_begins_with_how_to_run_it(example: str, command: str) -> None:
    head = (EXAMPLES / example).read_text(encoding="utf-8")[:1000]

    assert command in head


def test_the_example_rules_file_sets_every_key_to_its_built_in_value() -> None:
    policy = read_policy((EXAMPLES / "rules.toml").read_text(encoding="utf-8"))

    assert replace(policy, version=Policy().version, modes={}) == Policy()
    assert policy.modes == dict.fromkeys(RULE_NAMES, Mode.ENFORCE)
