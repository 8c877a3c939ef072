"""`liquidation logs report`: the page it writes, and what it says where it cannot."""

import json
import sys
from asyncio import create_subprocess_exec
from pathlib import Path

import pytest

from tests.analysis.test_report import many_codes
from tests.cli.commands import run

# The most memory of the command itself, in KiB; what getrusage tells counts the process that
# started it, too.
MEASURED = """
import sys
from pathlib import Path
from liquidation.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0])
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with nine codes."""
    file = tmp_path / "decisions.log"
    file.write_text("".join(json.dumps(line) + "\n" for line in many_codes()))
    return file


def test_a_page_is_written_that_holds_all_it_needs(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    result = run("logs", "report", str(log), "-o", str(page))

    text = page.read_text(encoding="utf-8")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{page}: 598 decisions of 598 lines\n"
    assert text.startswith("<!doctype html>")
    assert "default-src 'none'" in text
    assert "plotly.js v" in text


def test_a_page_can_go_to_standard_output(log: Path) -> None:
    result = run("logs", "report", "-", "-o", "-", given=log.read_bytes())

    assert result.stdout.startswith("<!doctype html>")
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_log_of_a_server_is_told_whole(real_log: Path) -> None:
    text = run("logs", "report", str(real_log), "-o", "-").stdout

    assert '<dt>Decisions</dt><dd class="value ">248</dd>' in text
    assert "Every line from the first to the last is there." in text


def test_lines_that_are_none_of_the_logs_are_counted(log: Path) -> None:
    with log.open("a") as file:
        file.write("no line of the log\n")

    text = run("logs", "report", str(log), "-o", "-").stdout

    assert "<li>Lines that are none of the log's: 1</li>" in text


def test_a_page_that_cannot_be_written_is_told(log: Path, tmp_path: Path) -> None:
    result = run("logs", "report", str(log), "-o", str(tmp_path / "no-such" / "page.html"))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


async def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    line = json.dumps(next(many_codes())) + "\n"
    changed = {
        "liquidator-": "liquidator-{}-",
        '"account_id": "account-': '"account_id": "account-{}-',
    }
    for text, numbered in changed.items():
        line = line.replace(text, numbered.replace("{}", "%d"))
    with log.open("w") as file:
        file.writelines(line.replace("%d", str(number)) for number in range(200_000))

    measured = await create_subprocess_exec(
        sys.executable, "-c", MEASURED, "logs", "report", str(log), "-o", str(tmp_path / "a.html"),
        stdout=-1, stderr=-1,
    )  # fmt: skip
    out, err = await measured.communicate()

    assert b"200,000 decisions" in err
    assert int(out) < 200 * 1024
