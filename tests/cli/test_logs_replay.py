"""`liquidation logs replay`: what it prints, and what its exit status says."""

import gzip
import json
import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from tests.analysis.logged import replayed, rewritten
from tests.analysis.test_replay import CANDIDATE, unnamed
from tests.cli.commands import on_a_terminal, run

CANDIDATE_FILE = """
version = "candidate"
[tiers]
low.min_claim_notional = 20000
high.min_claim_notional = 10000
"""


@pytest.fixture
def log(real_log: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(real_log, tmp_path))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """The file of a candidate that makes accepted claims too small."""
    file = tmp_path / "candidate.toml"
    file.write_text(CANDIDATE_FILE)
    return str(file)


def test_a_log_agrees_with_its_own_rules(log: Path) -> None:
    result = run("logs", "replay", str(log), "--format", "json")

    record = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (record["decisions"], record["agreed"], record["disagreed"]) == (248, 248, 0)
    assert (record["left_out"], record["failed"]) == ({}, {})
    assert record["candidate"] is None


def test_what_a_candidate_changes_is_told_exactly(log: Path, rules: str) -> None:
    result = run("logs", "replay", str(log), "--rules", rules, "--format", "json")

    expected = replayed(log, candidate=CANDIDATE)
    candidate = json.loads(result.stdout)["candidate"]
    assert result.exit_code == 0
    assert candidate["rules_version"] == "candidate"
    assert candidate["flips"]["count"] == expected.flips.lines == len(candidate["examples"]) == 3
    assert Decimal(candidate["flips"]["total_notional"]) == expected.flips.notional
    assert candidate["accepted_to_refused"] == candidate["flips"]
    assert candidate["refused_to_accepted"] == {"count": 0, "total_notional": "0"}
    assert {"from": 0, "to": -1201, "count": 3} in candidate["matrix"]
    assert sum(each["count"] for each in candidate["matrix"]) == 248
    assert candidate["liquidators"] == [
        {
            "id": "0xliquidator",
            "flips": 3,
            "now_refused": 3,
            "total_notional": candidate["flips"]["total_notional"],
        }
    ]


def test_the_table_tells_the_same(log: Path, rules: str) -> None:
    result = run("logs", "replay", str(log), "--rules", rules, "--examples", "1")

    assert "agree to the last word         248" in result.stdout
    assert "accepted before, refused now          3    98,875.94732" in result.stdout
    assert result.stdout.count("-1201 least req ratio should = ") == 1


def test_flips_can_be_made_a_failure(log: Path, rules: str) -> None:
    arguments = ("logs", "replay", str(log), "--fail-on-flip", "--rules")
    same = Path(rules).with_name("same.toml")
    same.write_text('version = "same"\n')

    assert run(*arguments, rules).exit_code == 3
    assert run(*arguments, str(same)).exit_code == 0


def test_a_tampered_line_is_named_and_fails(log: Path, rules: str) -> None:
    tampered = rewritten(log, 143, message="least req ratio should = 0.1", code=-1201)

    for arguments in ((), ("--rules", rules, "--fail-on-flip")):
        result = run("logs", "replay", str(tampered), *arguments)

        assert result.exit_code == 1
        assert f"{tampered.name}:" in result.stdout
        assert "least req ratio should = 0.1" in result.stdout


def test_a_line_that_is_none_of_the_logs_fails(log: Path) -> None:
    with log.open("a") as file:
        file.write('{"timestamp":"2026-11-22T')

    result = run("logs", "replay", str(log), "--format", "json")

    assert result.exit_code == 1
    assert result.stderr.endswith("is cut short\n")
    assert json.loads(result.stdout)["failed"] == {"none of the log's lines": 1}


def test_rules_that_the_log_lacks_are_given(log: Path, tmp_path: Path) -> None:
    lacking = unnamed(log, "2026-11")
    own = tmp_path / "own.toml"
    own.write_text('version = "2026-11"\n')

    without = run("logs", "replay", str(lacking), "--format", "json")
    given = run("logs", "replay", str(lacking), "--own-rules", str(own), "--format", "json")

    assert without.exit_code == 1
    assert json.loads(without.stdout)["failed"] == {"its rules are not known": 248}
    assert (given.exit_code, json.loads(given.stdout)["agreed"]) == (0, 248)


def test_logs_are_read_compressed_and_from_standard_input(log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "decisions.log.1.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))

    both = run("logs", "replay", str(packed), "-", "--format", "json", given=log.read_bytes())

    assert json.loads(both.stdout)["agreed"] == 2 * 248
    assert both.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Missing argument 'FILE...'"),
        (("no-such.log",), "does not exist"),
        (("-", "--fail-on-flip"), "it needs --rules"),
        (("-", "--rules", "no-such.toml"), "does not exist"),
        (("-", "--examples", "1001"), "is not in the range"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], problem: str) -> None:
    result = run("logs", "replay", *arguments, given=b"")

    assert result.exit_code == 2
    assert problem in result.stderr


def test_a_bad_candidate_is_told_in_one_line(log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("version = 1\nno_such_key = 2\n")

    result = run("logs", "replay", str(log), "--rules", str(bad))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {bad}: no_such_key: is not a known key")


@pytest.fixture
def long_log(log: Path) -> Path:
    """A log that takes a while."""
    log.write_bytes(log.read_bytes() * 6)
    return log


async def test_a_long_log_shows_how_far_it_is_read(long_log: Path) -> None:
    status, screen = await on_a_terminal("logs", "replay", str(long_log), columns=120)

    assert status == 0
    assert "100 %" in screen
    assert "1,488" in screen


def test_the_document_shows_what_is_printed(
    log: Path, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "how-to" / "replay-and-report.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)^```$", document, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(log.parent)
    candidate = Path(rules).name

    result = run("logs", "replay", log.name, "--rules", candidate, "--examples", "2")

    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert [line.strip() for line in blocks[0].splitlines() if line.strip()] == lines
