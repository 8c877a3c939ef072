"""`liquidation logs tail`: the lines of a log, for people and for programs."""

import asyncio
import gzip
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import on_a_terminal, run

REFUSED = {
    "outcome": "refused",
    "code": -1201,
    "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
    "message": "least req ratio should = 0.3334",
    "rule": "least_request_ratio",
}


def decision(seq: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-11-22T18:11:{seq:02}.936616Z",
        "level": "info",
        "event": "decision",
        "decision_id": f"p-{seq}",
        "rpc": "CheckClaim",
        "liquidation_id": 101,
        "account_id": "account-1",
        "liquidator_id": "liquidator-1",
        "ratio_qty_request": "1",
        "extra_liquidation_ratio": "0.05",
        "latency_us": 1500,
        "outcome": "accepted",
        "code": 0,
        "message": "",
        "rule": "",
        "seq": seq,
    } | changes


def a_log(folder: Path, *lines: dict[str, Any], name: str = "decisions.log") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def ids(output: str) -> list[str]:
    return [json.loads(line)["decision_id"] for line in output.splitlines()]


def test_a_decision_is_one_readable_line(tmp_path: Path) -> None:
    path = a_log(tmp_path, decision(), decision(2, **REFUSED, ratio_qty_request="0.3333"))

    result = run("logs", "tail", str(path))

    assert (result.exit_code, result.stderr) == (0, "")
    accepted, refused = result.stdout.splitlines()
    assert accepted.split() == (
        [
            "2026-11-22",
            "18:11:01.936",
            "accepted",
            "0",
            "check",
            "101",
            "account-1",
            "liquidator-1",
            "1+0.05",
            "1.5",
            "ms",
        ]
    )
    assert refused.endswith("least_request_ratio: least req ratio should = 0.3334")
    assert "refused  -1201 check" in refused


def test_claims_liquidations_and_notes_say_what_is_theirs(tmp_path: Path) -> None:
    claim = decision(
        event="claim",
        rpc="CancelClaim",
        change="cancel",
        claim_id="d571ccf7c08b4abeaa3286c37e01a291",
        state="CANCELLED",
        end_reason="gone",
        request={"force": True},
    )
    opened = decision(2, event="liquidation", rpc="PutLiquidation", change="opened", revision=7)
    fault = {"timestamp": "", "event": "fault", "level": "error", "traceback": "at\nZeroDivision"}

    lines = run("logs", "tail", str(a_log(tmp_path, claim, opened, fault))).stdout.splitlines()

    assert "cancel" in lines[0]
    assert lines[0].endswith("claim d571ccf7 CANCELLED by force “gone”")
    assert "opened" in lines[1]
    assert lines[1].endswith("revision 7")
    assert lines[2].split() == ["fault", "ZeroDivision"]


def test_raw_lines_are_untouched(tmp_path: Path) -> None:
    content = b'{"event" : "decision",  "b":1.0, "seq": 1}\n{"event":"x"}\n'
    path = tmp_path / "decisions.log"
    path.write_bytes(content)

    assert run("logs", "tail", "--raw", str(path)).stdout_bytes == content


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["p-1", "p-2", "p-3", "p-4"]),
        (("--code", "0"), ["p-1", "p-3"]),
        (("--code", "-1201", "--code", "0"), ["p-1", "p-2", "p-3"]),
        (("--rule", "least_request_ratio"), ["p-2"]),
        (("--rule", "limit_price"), []),
        (("--account", "account-3"), ["p-3"]),
        (("--liquidator", "liquidator-1"), ["p-1", "p-2", "p-3"]),
        (("--liquidator", "account-1"), []),
        (("--liquidation-id", "101"), ["p-1", "p-2", "p-3"]),
        (("--liquidation-id", "102"), []),
        (("--rule", "least_request_ratio", "--account", "account-3"), []),
        (("--since", "2026-11-22T18:11:02Z"), ["p-2", "p-3", "p-4"]),
        (("--since", "2026-11-22T18:11:02Z", "--until", "2026-11-22T18:11:03Z"), ["p-2"]),
        (("--since", "1m", "--until", "2026-11-22T18:11:03Z"), []),
        (("--outcome", "refused"), ["p-2"]),
        (("--min-latency", "1.5"), ["p-1", "p-2", "p-3"]),
        (("--min-latency", "1.501"), []),
        (("-n", "2"), ["p-3", "p-4"]),
        (("-n", "0"), []),
        (("-n", "1", "--outcome", "refused"), ["p-2"]),
    ],
    ids=str,
)
def test_only_the_lines_that_are_asked_for_are_shown(
    tmp_path: Path, arguments: tuple[str, ...], expected: list[str]
) -> None:
    note = {"timestamp": "2026-11-22T18:11:04.0Z", "event": "fault", "decision_id": "p-4"}
    other = decision(3, account_id="account-3")
    path = a_log(tmp_path, decision(1), decision(2, **REFUSED), other, note)

    result = run("logs", "tail", "--raw", *arguments, str(path))

    assert result.exit_code == 0
    assert ids(result.stdout) == expected


def test_several_files_plain_compressed_and_rotated_are_read_in_order(tmp_path: Path) -> None:
    path = a_log(tmp_path, decision(3))
    a_log(tmp_path, decision(2), name="decisions.log.1")
    older = json.dumps(decision(1)).encode() + b"\n"
    (tmp_path / "decisions.log.2.gz").write_bytes(gzip.compress(older))

    rotated = run("logs", "tail", "--raw", "--rotated", str(path))
    named = run("logs", "tail", "--raw", str(path), str(tmp_path / "decisions.log.2.gz"))

    assert ids(rotated.stdout) == ["p-1", "p-2", "p-3"]
    assert ids(named.stdout) == ["p-3", "p-1"]


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_is_read(arguments: tuple[str, ...]) -> None:
    given = json.dumps(decision()).encode() + b"\nStarting up\n"

    result = run("logs", "tail", "--raw", *arguments, given=given)

    assert (result.exit_code, ids(result.stdout)) == (0, ["p-1"])
    assert result.stderr == "1 line was passed over:\n  standard input:2: is not JSON\n"


def test_broken_lines_are_counted_and_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "decisions.log"
    path.write_bytes(b"x\n" * 12 + json.dumps(decision()).encode() + b"\n\xff\n")

    result = run("logs", "tail", str(path))

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    told = result.stderr.splitlines()
    assert told[0] == "13 lines were passed over:"
    assert told[1] == f"  {path}:1: is not JSON"
    assert told[-1] == "  and 3 more"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--since", "yesterday", "x.log"), "neither a time nor a span"),
        (("--min-latency", "-1", "x.log"), "no number of milliseconds"),
        (("nowhere.log",), "does not exist"),
        (("--follow",), "--follow needs a FILE"),
        (("--follow", "-"), "--follow needs a FILE"),
        (("--rotated",), "--rotated needs the log's FILE"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    a_log(tmp_path, name="x.log")

    result = run("logs", "tail", *arguments)

    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


def test_nothing_in_a_line_draws_on_the_screen(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x07[red]\nnext"
    path = a_log(tmp_path, decision(account_id=hostile, message=hostile, rule=hostile))

    result = run("logs", "tail", str(path))

    assert len(result.stdout.splitlines()) == 1
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("columns", [60, 100])
async def test_on_a_screen_no_line_is_wider_than_it(tmp_path: Path, columns: int) -> None:
    path = a_log(tmp_path, decision(), decision(2, **REFUSED, account_id="a" * 128))

    status, screen = await on_a_terminal("logs", "tail", str(path), columns=columns)

    assert status == 0
    assert max(map(len, screen.splitlines())) <= columns
    assert "least req ratio" in screen


async def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = a_log(tmp_path, *(decision(seq) for seq in range(1, 20_000)))
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m liquidation.cli logs tail {path} | head -n 1",
        stdout=PIPE,
        stderr=PIPE,
    )

    out, err = await process.communicate()

    assert (len(out.splitlines()), err) == (1, b"")


class Following:
    """A `tail --follow` of a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        return str(json.loads(line)["decision_id"])

    async def interrupted(self) -> tuple[int | None, bytes]:
        self._process.send_signal(signal.SIGINT)
        _, err = await self._process.communicate()
        return self._process.returncode, err


async def follow(path: Path, *arguments: str) -> Following:
    command = (sys.executable, "-m", "liquidation.cli", "logs", "tail", "-f", "--raw")
    return Following(
        await asyncio.create_subprocess_exec(
            *command, *arguments, str(path), stdout=PIPE, stderr=PIPE
        )
    )


def append(path: Path, content: str) -> None:
    with path.open("a") as file:
        file.write(content)


async def test_following_shows_the_last_lines_and_then_each_through_rotation(
    tmp_path: Path,
) -> None:
    path = a_log(tmp_path, *(decision(seq) for seq in range(1, 31)))
    following = await follow(path, "-n", "2")
    assert [await following.line(), await following.line()] == ["p-29", "p-30"]

    append(path, json.dumps(decision(31)) + "\nbroken\n")
    assert await following.line() == "p-31"
    path.rename(tmp_path / "decisions.log.1")
    a_log(tmp_path, decision(32), decision(33))
    assert [await following.line(), await following.line()] == ["p-32", "p-33"]
    # Shorter than before, however late it is looked at: else nothing would tell that it was cut.
    os.truncate(path, 0)
    append(path, json.dumps(decision(34)) + "\n")
    assert await following.line() == "p-34"

    status, err = await following.interrupted()
    assert status == 0
    assert err.decode().splitlines()[0] == "1 line was passed over:"


async def test_following_shows_only_what_fits(tmp_path: Path) -> None:
    path = a_log(tmp_path, decision(1), decision(2, **REFUSED), decision(3))
    following = await follow(path, "--outcome", "refused")
    assert await following.line() == "p-2"

    append(path, "".join(json.dumps(each) + "\n" for each in (decision(4), decision(5, **REFUSED))))
    assert await following.line() == "p-5"
    assert await following.interrupted() == (0, b"")
