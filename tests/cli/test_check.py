"""`liquidation check`: the same answers in process and from a server, in every form."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import (
    REAL_REQUESTS,
    REQUESTS,
    records,
    run,
    run_apart,
)
from tests.sidecars import Running

ONE = (
    *("check", "--liquidation-id", "101", "--liquidator-id", "liquidator-1"),
    *("--account-id", "account-low", "--tier", "low"),
    *("--position", "PERP_BTC_USDC:0.5:40000", "--position", "PERP_ETH_USDC:-4:2500"),
    *("--margin-ratio", "0.008", "--maintenance-margin-ratio", "0.012"),
)
MODES = pytest.mark.parametrize("mode", ["unary", "batch", "stream"])


def counted(answers: list[dict[str, Any]]) -> dict[int, int]:
    return Counter(each["code"] for each in answers)


def without_ids(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers without the id that a server's log has them under."""
    for each in answers:
        if each.get("decision"):
            each["decision"].pop("decision_id", None)
    return answers


@MODES
async def test_real_requests_are_answered_by_a_server(server: Running, mode: str) -> None:
    arguments = ("check", "--file", str(REAL_REQUESTS), "--format", "jsonl", "--explain")

    asked = await run_apart(*arguments, "--address", server.address, "--mode", mode)
    here = await run_apart(*arguments)

    assert counted(records(asked)) == {0: 61, -1201: 113, -1005: 62, -1202: 12}
    assert without_ids(records(asked)) == without_ids(records(here))
    for result in (asked, here):
        assert (result.exit_code, result.stderr) == (0, "")


def test_an_accepted_line_is_told_in_full() -> None:
    accepted = records(run("check", "--file", str(REQUESTS), "--format", "jsonl"))[0]

    assert accepted == {
        "line": 1,
        "accepted": True,
        "code": 0,
        "name": "",
        "message": "",
        "rule": "",
        "decision": {
            "accepted": True,
            "total_notional": "20000",
            "least_req_ratio": "0.5",
            "margin_ratio": "0.008",
            "maintenance_margin_ratio": "0.012",
            "liquidation_revision": "7",
            "rules_version": "default",
        },
        "positions": [
            {"symbol": "PERP_BTC_USDC", "qty": "0.5", "max_qty": "0.525", "notional": "20000"}
        ],
    }


def test_a_refused_line_is_told_with_its_details() -> None:
    answers = records(run("check", "--file", str(REQUESTS), "--format", "jsonl"))
    small, malformed = (next(each for each in answers if each["line"] == n) for n in (2, 8))

    assert (small["accepted"], small["code"], small["rule"]) == (
        False,
        -1201,
        "least_request_ratio",
    )
    assert small["message"] == "least req ratio should = 0.5"
    assert small["decision"]["least_req_ratio"] == "0.5"
    assert small["details"]["metadata"]["min_claim_notional"] == "10000"
    assert (small["details"]["http_status"], small["details"]["grpc_code"]) == (
        400,
        "FAILED_PRECONDITION",
    )
    assert [each["field"] for each in malformed["details"]["field_violations"]] == [
        "terms.ratio_qty_request"
    ]


@pytest.mark.parametrize("mode", [None, "unary", "batch", "stream"])
async def test_lines_that_are_no_requests_are_told_in_their_places(
    server: Running, mode: str | None
) -> None:
    asked = () if mode is None else ("--address", server.address, "--mode", mode)

    result = await run_apart("check", "--file", str(REQUESTS), "--format", "jsonl", *asked)

    answers = records(result)
    assert [each["line"] for each in answers] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert [each.get("code") for each in answers] == [0, -1201, None, -1202, None, None, -1005, 0]
    assert answers[2] == {"line": 3, "error": "is not JSON: Expecting value at character 1"}
    assert answers[4] == {
        "line": 6,
        "error": "is no CheckClaimRequest: it must be a JSON object",
    }
    assert 'no field named "ratio"' in answers[5]["error"]
    assert result.stderr.splitlines()[0] == "line 3: is not JSON: Expecting value at character 1"
    assert [line[:7] for line in result.stderr.splitlines()] == ["line 3:", "line 6:", "line 7:"]
    assert result.exit_code == 1


def test_requests_are_read_from_standard_input() -> None:
    given = REQUESTS.read_bytes().splitlines()[0]

    result = run("check", "--file", "-", "--format", "jsonl", given=given)

    assert [each["accepted"] for each in records(result)] == [True]


def test_text_that_is_not_utf_8_is_no_request() -> None:
    result = run("check", "--file", "-", "--format", "jsonl", given=b"\xff\n")

    assert records(result)[0]["error"] == "is not UTF-8 text: invalid start byte at byte 0"
    assert result.exit_code == 1


async def test_one_request_is_made_from_flags(server: Running) -> None:
    price = ("--limit-price", "PERP_BTC_USDC:40000")
    arguments = (*ONE, "--ratio", "0.5", *price, "--format", "jsonl")

    here = records(run(*arguments))
    asked = records(await run_apart(*arguments, "--address", server.address))

    assert here[0]["accepted"]
    assert here[0]["decision"]["total_notional"] == "30000"
    assert here[0]["decision"]["liquidation_revision"] == "1"
    assert without_ids(asked) == here


def test_symbols_are_claimed_by_flags() -> None:
    result = run(
        *("check", "--liquidation-id", "7", "--liquidator-id", "liquidator-1"),
        *("--account-id", "a", "--tier", "high", "--position", "PERP_SOL_USDC:-100:200"),
        *("--symbol", "PERP_SOL_USDC:0.5", "--revision", "4"),
        *("--margin-ratio", "0.02", "--maintenance-margin-ratio", "0.05", "--format", "jsonl"),
    )

    (answer,) = records(result)
    assert answer["positions"][0]["qty"] == "-50"
    assert answer["decision"]["liquidation_revision"] == "4"


def test_without_a_snapshot_nothing_is_known_in_process() -> None:
    result = run("check", "--liquidation-id", "7", "--liquidator-id", "a", "--ratio", "1")

    assert "-1202" in result.stdout
    assert "Can not find given liquidationId." in result.stdout
    assert result.exit_code == 0


def test_the_table_of_one_explained_request_shows_every_rule() -> None:
    shown = run(*ONE, "--ratio", "0.5", "--explain").stdout

    assert "accepted" in shown
    assert "PERP_ETH_USDC" in shown
    assert "margin_below_maintenance" in shown
    assert "least_req_ratio = 0.3334" in shown


def test_the_table_of_a_file_ends_with_counts_by_code() -> None:
    shown = run("check", "--file", str(REAL_REQUESTS)).stdout.splitlines()

    counts = {tuple(line.split()) for line in shown[-10:]}
    assert {
        ("0", "accepted", "61"),
        ("-1005", "INVALID_PARAM", "62"),
        ("-1201", "LIQUIDATION_REQUEST_RATIO_TOO_SMALL", "113"),
        ("-1202", "LIQUIDATION_STATUS_ERROR", "12"),
        ("in", "all", "248"),
    } <= counts


def test_a_table_shows_nothing_that_draws_on_the_screen() -> None:
    given = json.dumps({"terms": {"liquidator_id": "\x1b[31m[red]me"}}).encode()

    shown = run("check", "--file", "-", given=given).stdout

    assert "\x1b" not in shown
    assert "[31m[red]me" in shown


def test_other_rules_are_run_from_a_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('version = "strict"\n[tiers.low]\nmin_claim_notional = 20000\n')

    (answer,) = records(run(*ONE, "--ratio", "0.5", "--rules", str(rules), "--format", "jsonl"))

    assert answer["message"] == "least req ratio should = 0.6667"
    assert answer["decision"]["rules_version"] == "strict"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give --file, or one request"),
        (("--file", str(REQUESTS), "--ratio", "1"), "exclude each other"),
        (("--file", str(REQUESTS), "--mode", "batch"), "it needs --address"),
        (("--file", "missing.jsonl"), "No such file"),
        (("--file", str(REQUESTS), "--address", "nowhere"), "neither HOST:PORT nor unix:PATH"),
        (("--file", str(REQUESTS), "--address", "unix:"), "neither HOST:PORT nor unix:PATH"),
        (("--file", str(REQUESTS), "--address", "a:1", "--rules", "b"), "exclude each other"),
        (("--liquidation-id", "1", "--position", "BTC:1"), "not of the form SYMBOL:QTY:PRICE"),
        (("--liquidation-id", str(2**63)), "out of range"),
    ],
)
def test_a_wrong_use_is_told_with_status_2(arguments: tuple[str, ...], problem: str) -> None:
    result = run("check", *arguments)

    assert problem in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_bad_rules_file_is_told_in_one_line() -> None:
    result = run("check", "--file", str(REQUESTS), "--rules", str(REQUESTS), "--format", "jsonl")

    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {REQUESTS}: not a TOML file")
    assert result.exit_code == 1


async def test_a_reader_who_leaves_is_no_error(server: Running) -> None:
    line = REQUESTS.read_bytes().splitlines(keepends=True)[0]
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liquidation.cli", "check", "--file", "-", "--format", "jsonl"),
        *("--address", server.address),
        stdin=PIPE,
        stdout=writing,
        stderr=PIPE,
    )
    os.close(writing)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(line)
    first = json.loads(await asyncio.to_thread(os.read, reading, 65536))
    os.close(reading)
    # Nobody reads any more, while there may be more to come on standard input.
    process.stdin.write(line)
    told = await process.stderr.read()
    await process.wait()
    process.stdin.close()

    assert first["accepted"]
    assert told == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_a_full_disk_is_told_in_one_line() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liquidation.cli", "check", "--file", str(REAL_REQUESTS)),
        *("--format", "jsonl"),
        stdout=full,
        stderr=PIPE,
    )
    os.close(full)
    _, told = await process.communicate()

    assert told == b"Error: No space left on device\n"
    assert process.returncode == 1
