"""Commands on a host that has only what the service itself needs."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from liquidation import needs_extra
from liquidation.client import AsyncLiquidationClient
from tests.cli.commands import REQUESTS
from tests.cli.test_claims import ALL, LOW
from tests.cli.test_logs_tail import a_log, decision
from tests.sidecars import Running

# Runs each of the commands on standard input in one process in which no extra can be imported.
PROGRAM = """
import json, sys
for name in ("rich", "psycopg", "plotly", "prometheus_client", "opentelemetry"):
    sys.modules[name] = None
from click.testing import CliRunner
from liquidation.cli import cli
for command in json.load(sys.stdin):
    result = CliRunner().invoke(cli, command)
    print(json.dumps([result.exit_code, result.stdout, result.stderr]))
"""
FULL, KEYS = ("--format", "json"), ("--file", "keys.json")
NO_TABLES = f"Error: {needs_extra('a table', 'cli')}; or "
NO_DRIVER = f"Error: {needs_extra('--store postgresql://', 'postgres')}\n"
DATABASE = "postgresql://u:S3cret@127.0.0.1:1/x"


def without_extras(folder: Path, commands: list[tuple[str, ...]]) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each command, run one after the other in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(commands),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return a_log(tmp_path, decision())


@pytest.mark.usefixtures("log")
def test_what_needs_no_extra_works(tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = [
        ("check", "--file", str(REQUESTS), "--format", "jsonl"),
        ("errors", "--format", "markdown"),
        ("rules", *FULL),
        ("settings", *FULL),
        ("keys", "new", "a", *KEYS, "--permission", "check"),
        ("keys", "list", *KEYS, *FULL),
        ("db", "migrate", "--store", "sqlite:store.db"),
        ("db", "status", "--store", "sqlite:store.db", *FULL),
        ("logs", "tail", "decisions.log"),
        ("logs", "stats", "--json", "decisions.log"),
        ("logs", "replay", "decisions.log", *FULL),
    ]

    results = without_extras(tmp_path, commands)

    for command, (status, output, errors) in zip(commands, results, strict=True):
        assert output, (command, errors)
        assert "needs the extra" not in errors, command
        # Some of these requests are none, and the rules of that log are not known.
        assert status == (command[0] == "check" or command[1] == "replay"), (command, errors)


@pytest.mark.usefixtures("log")
def test_what_needs_an_extra_names_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"keys": []}')
    expected: dict[tuple[str, ...], str] = {
        ("check", "--file", str(REQUESTS)): NO_TABLES,
        ("errors",): NO_TABLES,
        ("rules",): NO_TABLES,
        ("settings",): NO_TABLES,
        ("keys", "list", *KEYS): NO_TABLES,
        ("db", "status", "--store", "sqlite:store.db"): NO_TABLES,
        ("db", "status", "--store", DATABASE, *FULL): NO_DRIVER,
        ("db", "migrate", "--store", DATABASE): NO_DRIVER,
        ("logs", "stats", "decisions.log"): NO_TABLES,
        ("logs", "replay", "decisions.log"): NO_TABLES,
        (
            "logs",
            "report",
            "decisions.log",
            "-o",
            "page.html",
        ): f"Error: {needs_extra('a report', 'report')}\n",
    }

    results = without_extras(tmp_path, list(expected))

    for (command, words), (status, output, errors) in zip(expected.items(), results, strict=True):
        assert (status, output, len(errors.splitlines())) == (1, "", 1), (command, errors)
        assert errors.startswith(words), command
    assert not (tmp_path / "page.html").exists()


def test_a_check_before_a_start_names_each_extra(tmp_path: Path) -> None:
    expected = {
        ("--metrics-listen", "0"): "metrics",
        ("--tracing", "otlp"): "otel",
        ("--store", DATABASE): "postgres",
    }

    results = without_extras(tmp_path, [("serve", "--check", *flags) for flags in expected])

    for extra, (status, output, _) in zip(expected.values(), results, strict=True):
        assert status == 1
        assert f"needs the extra {extra}: pip install '.[{extra}]' in a checkout" in output
        assert "S3cret" not in output


async def test_an_operator_can_cancel(server: Running, tmp_path: Path) -> None:
    async with AsyncLiquidationClient(server.address) as client:
        claim = (await client.begin_claim("order-1", ALL, LOW)).claim
    cancel = ("claims", "cancel", claim.claim_id, "--force", "--reason", "gone", "--yes")

    ((status, output, errors),) = await asyncio.to_thread(
        without_extras, tmp_path, [(*cancel, "--address", server.address)]
    )

    assert (status, errors) == (0, "")
    assert output.endswith("is cancelled.\n")
