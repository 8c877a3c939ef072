"""`liquidation logs explain`: the story of a decision or a claim, on a screen."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from liquidation.rules.policy import RULE_NAMES
from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.cli.commands import on_a_terminal, run
from tests.sidecars import running


@dataclass(frozen=True)
class Logged:
    """The log of a server, and the ids of what it decided."""

    file: Path
    below: str
    kept_out: str
    claim: str


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A claim that was begun, one that it kept out, and a decision below the threshold."""
    return asyncio.run(logged(tmp_path_factory.mktemp("explained")))


async def logged(folder: Path) -> Logged:
    request = samples.low_request()
    check = samples.check(request)
    begin = ParseDict(request | {"request_id": "order-1"}, pb.BeginClaimRequest())
    small = samples.check(
        samples.low_request(
            {"ratio_qty_request": "0.3333", "liquidation_id": 7},
            {"liquidation_id": 7, "account_id": "account-7"},
        )
    )
    async with running(folder) as server:
        await server.refused(small)
        claim = (await server.call("ClaimService.BeginClaim", begin)).claim
        await server.refused(check)
        end = pb.CancelClaimRequest(claim_id=claim.claim_id, force=True, reason="gone")
        await server.call("ClaimService.CancelClaim", end)
        below, kept_out = (each["decision_id"] for each in await server.lines(count=2))
    return Logged(server.log_file, below, kept_out, claim.claim_id)


def test_a_decision_is_told_with_every_rule_and_its_distance(log: Logged) -> None:
    result = run("logs", "explain", log.below, str(log.file))

    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0] in RULE_NAMES] == list(RULE_NAMES)
    assert ["all", "0.3333", "30000", "9999", "10000", "-1"] in rows
    assert ["The", "same", "decision."] in rows
    assert ["PERP_ETH_USDC", "-4", "2500", "10000"] in rows
    assert "refused: -1201 least req ratio should = 0.3334 (rule least_request_ratio)" in (
        result.stdout
    )


def test_a_decision_that_a_claim_kept_out_tells_what_became_of_it(log: Logged) -> None:
    result = run("logs", "explain", log.kept_out, str(log.file))

    assert f"Claim {log.claim}" in result.stdout
    assert "state CANCELLED" in result.stdout
    assert "by force “gone”" in result.stdout


def test_a_claim_is_told_from_begin_to_end_with_who_was_kept_out(log: Logged) -> None:
    result = run("logs", "explain", log.claim, given=log.file.read_bytes())

    lines = result.stdout.splitlines()
    begin, cancel, kept_out = (
        next(number for number, line in enumerate(lines) if words in line)
        for words in (" begin ", " cancel ", "Refused because of it")
    )
    assert begin < cancel < kept_out
    assert "no_claim_in_process" in lines[kept_out + 1]


@pytest.mark.parametrize("columns", [60, 100])
async def test_the_story_keeps_to_the_width_of_the_screen(log: Logged, columns: int) -> None:
    status, screen = await on_a_terminal(
        "logs", "explain", log.kept_out, str(log.file), columns=columns
    )

    assert status == 0
    assert max(map(len, screen.splitlines())) <= columns


def test_an_id_that_the_log_has_not_is_told(log: Logged) -> None:
    result = run("logs", "explain", "nobody", str(log.file))

    assert result.exit_code == 1
    assert result.stderr == "Error: the log has no decision or claim 'nobody'\n"


def test_a_decision_whose_rules_are_not_in_the_log_is_told_without_them(
    log: Logged, tmp_path: Path
) -> None:
    path = tmp_path / "part.log"
    lines = map(json.loads, log.file.read_text().splitlines())
    kept = [line | {"rules_version": "v7"} for line in lines if line["event"] == "decision"]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    result = run("logs", "explain", log.below, str(path))

    assert "Not decided again: the rules of version 'v7' are not in the log." in result.stdout
