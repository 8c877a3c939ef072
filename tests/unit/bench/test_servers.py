"""The baselines decide what the service decides, leave a line each, and commit as they should."""

import json
import struct
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.builds import CERBOS_PROGRAM, UnavailableError
from bench.scenarios import SCENARIOS, verify
from bench.servers import SERVERS, Running, running
from liquidation.v1 import liquidation_pb2, rules_service_pb2

CLAIMS = 20


# One for each rule that the sidecar in Go has.
TERMS: tuple[dict[str, Any], ...] = (
    {"ratio_qty_request": "1.0", "extra_liquidation_ratio": "0.25"},
    {"ratio_qty_request": "half"},
    {},
    {"ratio_qty_request": "1.01"},
    {"ratio_qty_request": "1", "extra_liquidation_ratio": "-0.1"},
    {"ratio_qty_request": "0.5", "extra_liquidation_ratio": "0.1"},
    {"ratio_qty_request": "1", "liquidation_id": 99},
    {"symbols": [liquidation_pb2.SymbolRatio(symbol="PERP_BTC_USDC", ratio_qty_request="1")]},
    {"ratio_qty_request": "1", "liquidator_id": "account-1"},
    {"ratio_qty_request": "0.33334"},
)


def answered(call: Any, terms: dict[str, Any]) -> tuple[Any, ...]:
    """What the caller gets, but for ids: the accepted positions, or the refusal."""
    asked = liquidation_pb2.ClaimTerms(
        **{"liquidation_id": 1, "liquidator_id": "liquidator-1", **terms}
    )
    try:
        answer = call(rules_service_pb2.CheckClaimRequest(terms=asked).SerializeToString())
    except grpc.RpcError as error:
        return error.code(), error.details()
    return tuple(map(str, rules_service_pb2.CheckClaimResponse.FromString(answer).positions))


def lines_of(name: str, directory: Path) -> list[dict[str, Any]]:
    with running(name, directory) as server:
        for scenario in ("accepted", "refused"):
            verify(server.address, SCENARIOS[scenario])
    lines = map(json.loads, server.log.read_text().splitlines())
    return [line for line in lines if line["event"] == "decision"]


def test_the_go_sidecar_decides_and_logs_as_the_service_does(tmp_path: Path) -> None:
    try:
        go = lines_of("Go", tmp_path)
    except UnavailableError as error:
        pytest.skip(str(error))
    ours = lines_of("ours", tmp_path)

    same = (
        *("event", "rpc", "liquidation_id", "account_id", "liquidator_id", "ratio_qty_request"),
        *("extra_liquidation_ratio", "outcome", "code", "name", "message", "rule"),
        *("total_notional", "least_req_ratio", "margin_ratio", "revision", "rules_version"),
        "request",
    )
    for key in same:
        assert [line[key] for line in go] == [line[key] for line in ours], key


def test_the_go_sidecar_answers_each_rule_as_the_service_does(tmp_path: Path) -> None:
    answers = {}
    for name in ("ours", "Go"):
        try:
            with (
                running(name, tmp_path) as server,
                grpc.insecure_channel(server.address) as channel,
            ):
                call: Any = channel.unary_unary(SCENARIOS["accepted"].path)
                answers[name] = [answered(call, terms) for terms in TERMS]
        except UnavailableError as error:
            pytest.skip(str(error))

    assert answers["Go"] == answers["ours"]


def test_cerbos_allows_and_denies_what_the_service_does(tmp_path: Path) -> None:
    if not CERBOS_PROGRAM.exists():  # a test does not download it
        pytest.skip("`make bench` has not downloaded Cerbos")
    with running("Cerbos", tmp_path) as server:
        for scenario in server.server.scenarios.values():
            verify(server.address, scenario)

    with server.log.open("rb") as lines:
        codes = [code for line in lines if (code := server.server.code_in(line)) is not None]
    assert codes == [each.code for each in server.server.scenarios.values()]


def test_the_release_before_is_served_from_its_own_tree(tmp_path: Path) -> None:
    try:
        command = SERVERS["release before"].command()
    except UnavailableError as error:
        pytest.skip(str(error))
    with running("release before", tmp_path) as server:
        verify(server.address, SCENARIOS["refused"])

    assert Path(command[-1]).parent.name.startswith("release-")
    assert (Path(command[-1]).parent / "liquidation" / "desk.py").exists()


def commits_of(server: Running) -> int:
    """The commits in SQLite's write-ahead log since the store was opened.

    Only the last frame of a commit has the size of the database in its header; see
    sqlite.org/fileformat2.html.
    """
    log = server.log.with_name("store.db-wal").read_bytes()
    (page_size,) = struct.unpack_from(">I", log, 8)
    (salt,) = struct.unpack_from(">Q", log, 16)
    commits = 0
    for at in range(32, len(log), 24 + page_size):
        _, size, frame_salt = struct.unpack_from(">IIQ", log, at)
        commits += size > 0 and frame_salt == salt
    return commits


def commits_for_claims_at_once(name: str, directory: Path) -> int:
    scenario = SCENARIOS["begin"]
    with running(name, directory) as server, grpc.insecure_channel(server.address) as channel:
        begin: Any = channel.unary_unary(scenario.path)
        before = commits_of(server)
        calls = [begin.future(scenario.message()) for _ in range(CLAIMS)]
        assert all(scenario.is_right(call.result()) for call in calls)
        return commits_of(server) - before


def test_one_commit_a_claim_is_one_and_the_service_groups_them(tmp_path: Path) -> None:
    assert commits_for_claims_at_once("one commit a claim", tmp_path) >= CLAIMS
    assert commits_for_claims_at_once("ours", tmp_path) < CLAIMS
