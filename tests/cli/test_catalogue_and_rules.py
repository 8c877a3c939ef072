"""`liquidation errors` and `liquidation rules`."""

import json
from pathlib import Path

from liquidation.cli.reference import errors_markdown
from liquidation.rules.errors import OWN_WORDS, TABLE
from tests.cli.commands import run, run_apart
from tests.sidecars import Running


def test_the_markdown_has_every_row_with_when_it_occurs() -> None:
    result = run("errors", "--format", "markdown")

    rows = [line for line in result.stdout.splitlines() if line.startswith("| -")]
    rows = [line for line in rows if not line.startswith("| ---")]
    assert result.stdout == errors_markdown()
    assert len(rows) == len(TABLE) + len(OWN_WORDS)
    for line, row in zip(rows, (*TABLE, *OWN_WORDS), strict=True):
        assert line.startswith(f"| {row.code} | {row.kind.http_status} | `{row.grpc.name}` ")
        assert f"| {row.message} |" in line
        assert line.endswith(f"| {row.when} |")


def test_the_json_has_every_row() -> None:
    catalogue = json.loads(run("errors", "--format", "json").stdout)

    assert [each["message"] for each in catalogue["error_codes"]] == [row.message for row in TABLE]
    assert catalogue["error_codes"][0] == {
        "code": -1000,
        "http_status": 500,
        "name": "UNKNOWN",
        "message": "An unknown error occurred while processing the request.",
        "grpc_code": "INTERNAL",
        "emitted": True,
        "when": TABLE[0].when,
    }
    assert len(catalogue["own_words"]) == len(OWN_WORDS)


def test_the_table_of_errors_has_every_name() -> None:
    shown = run("errors").stdout

    assert all(row.kind.name in shown for row in TABLE)


async def test_the_rules_of_a_server_and_of_this_process_are_told_alike(server: Running) -> None:
    here = await run_apart("rules", "--format", "json")
    asked = await run_apart("rules", "--format", "json", "--address", server.address)

    rules = json.loads(here.stdout)
    assert rules == json.loads(asked.stdout)
    assert rules["version"] == "default"
    assert rules["rules"][0] == {"rule": "known_fields", "mode": "RULE_MODE_ENFORCE"}
    assert rules["tiers"] == [
        {"tier": "TIER_LOW", "min_claim_notional": "10000"},
        {"tier": "TIER_HIGH", "min_claim_notional": "5000"},
    ]


def test_the_table_of_rules_shows_modes_and_thresholds(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('version = "7"\n[modes]\nlimit_price = "shadow"\n')

    shown = [line.split() for line in run("rules", "--rules", str(file)).stdout.splitlines()]

    assert ["Rules", "version", "7"] in shown
    assert ["12", "limit_price", "shadow"] in shown
    assert ["11", "least_request_ratio", "enforce"] in shown
    assert ["least", "notional", "of", "a", "claim,", "tier", "HIGH", "5000", "USDC"] in shown


def test_a_server_and_a_file_exclude_each_other() -> None:
    assert run("rules", "--address", "127.0.0.1:1", "--rules", "rules.toml").exit_code == 2
