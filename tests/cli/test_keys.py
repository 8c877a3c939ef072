"""`liquidation keys`: made once, shown once, and never half a file."""

import asyncio
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from liquidation.auth.keys import Identity, KeyRing, Permission, read_keys
from tests.cli.commands import in_a_process, on_a_terminal, run

CHECK = ("--permission", "check")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def made(file: Path, name: str, *options: str) -> str:
    """A new key, as the command prints it."""
    result = run("keys", "new", name, "--file", str(file), *(options or CHECK))
    assert result.exit_code == 0, result.stderr
    return result.stdout.removesuffix("\n")


def ring_of(file: Path) -> KeyRing:
    return read_keys(file.read_text())


def taken(file: Path, key: str, permission: Permission = Permission.CHECK) -> bool:
    return isinstance(ring_of(file).identify(key, permission, datetime.now(UTC)), Identity)


def listed(file: Path) -> list[dict[str, Any]]:
    result = run("keys", "list", "--file", str(file), "--format", "json")
    keys: list[dict[str, Any]] = json.loads(result.stdout)["keys"]
    return keys


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_key_is_printed_alone_and_is_taken(file: Path) -> None:
    result = run(
        *("keys", "new", "risk-backend", "--file", str(file)),
        *("--permission", "check", "--permission", "claims:force"),
    )

    key = result.stdout.removesuffix("\n")
    assert result.exit_code == 0
    assert "\n" not in key
    assert taken(file, key)
    assert taken(file, key, Permission.CLAIMS_FORCE)
    assert not taken(file, key, Permission.CLAIMS)
    assert "It is not shown again" in result.stderr
    assert key not in result.stderr


def test_a_key_is_nowhere_but_on_the_output(file: Path) -> None:
    key = made(file, "risk-backend")
    shown = [
        run("keys", "list", "--file", str(file)).output,
        run("keys", "list", "--file", str(file), "--format", "json").output,
        run("keys", "new", "risk-backend", "--file", str(file), *CHECK).output,
        run("keys", "revoke", "risk-backend", "--file", str(file)).output,
    ]

    assert key[16:] not in file.read_text()
    assert not any(key[16:] in text for text in shown)
    assert {each.name for each in file.parent.iterdir()} == {file.name}


def test_a_revoked_key_is_not_taken_and_the_others_are(file: Path) -> None:
    gone, stays = made(file, "gone"), made(file, "stays")

    result = run("keys", "revoke", "gone", "--file", str(file))

    assert (result.exit_code, result.stdout) == (0, "Key gone is revoked.\n")
    assert (taken(file, gone), taken(file, stays)) == (False, True)
    before = file.read_text()
    again = run("keys", "revoke", "gone", "--file", str(file))
    assert (again.exit_code, file.read_text()) == (0, before)


def test_keys_are_listed_with_what_they_are_and_without_hashes(file: Path) -> None:
    made(file, "risk-backend", "--permission", "claims", "--permission", "check")
    made(file, "nightly", *CHECK, "--expires", "9000-01-01")
    run("keys", "revoke", "nightly", "--file", str(file))

    first, second = listed(file)

    entries = ring_of(file).entries
    assert first == {
        "name": "risk-backend",
        "id": entries[0].key_id,
        "state": "good",
        "permissions": ["check", "claims"],
        "created": entries[0].created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expires": None,
        "revoked": None,
    }
    assert (second["state"], second["expires"]) == ("revoked", "9000-01-01T00:00:00Z")
    screen = run("keys", "list", "--file", str(file)).stdout
    rows = [line.split() for line in screen.splitlines()]
    assert ["nightly", entries[1].key_id, "revoked", "check"] in [row[:4] for row in rows]
    for entry in entries:
        assert entry.sha256.hex() not in screen + json.dumps([first, second])


async def test_a_list_fits_a_narrow_screen(file: Path) -> None:
    made(file, "risk-backend", "--permission", "claims:force", "--permission", "liquidations")

    status, screen = await on_a_terminal("keys", "list", "--file", str(file), columns=60)

    assert status == 0
    assert max(map(len, screen.splitlines())) <= 60


def test_a_key_expires_after_days_or_at_the_midnight_of_a_date(file: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made(file, "days", *CHECK, "--expires", "90d")
    made(file, "date", *CHECK, "--expires", "9000-01-01")
    made(file, "never")

    days, date, never = (entry.expires for entry in ring_of(file).entries)

    ninety = timedelta(days=90)
    assert days is not None
    assert before + ninety <= days <= datetime.now(UTC) + ninety
    assert date == datetime(9000, 1, 1, tzinfo=UTC)
    assert never is None


@pytest.mark.parametrize(
    ("expires", "problem"),
    [
        ("90", "neither a number of days, such as 90d, nor a date"),
        ("soon", "neither a number of days, such as 90d, nor a date"),
        ("2027-02-30", "neither a number of days, such as 90d, nor a date"),
        ("-1d", "neither a number of days, such as 90d, nor a date"),
        ("9" * 5000 + "d", "neither a number of days, such as 90d, nor a date"),
        ("0d", "does not lie ahead"),
        ("2020-01-01", "does not lie ahead"),
    ],
)
def test_an_expiry_that_is_none_is_a_wrong_use(file: Path, expires: str, problem: str) -> None:
    result = run("keys", "new", "a", "--file", str(file), *CHECK, f"--expires={expires}")

    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in " ".join(result.stderr.split())
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("new", "a", *CHECK), "Missing option '--file'"),
        (("new", "a", "--file", "k"), "Missing option '--permission'"),
        (("new", "a", "--file", "k", "--permission", "root"), "'root' is not one of"),
        (("new", "--file", "k", *CHECK), "Missing argument 'NAME'"),
        (("list", "--file", "/"), "is a directory"),
    ],
)
def test_a_wrong_use_is_told_with_status_2(arguments: tuple[str, ...], problem: str) -> None:
    result = run("keys", *arguments)

    assert problem in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("new", "a", *CHECK), "name: a is taken"),
        (("new", "-a", *CHECK), "name: must be 1 to 40 ASCII letters"),
        (("revoke", "nobody"), "name: there is no such key"),
    ],
)
def test_a_name_that_does_not_fit_is_told_and_nothing_changes(
    file: Path, arguments: tuple[str, ...], problem: str
) -> None:
    made(file, "a")
    before = file.read_bytes()

    command, name, *options = arguments
    result = run("keys", command, "--file", str(file), *options, "--", name)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {file}: {problem}")
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", [("new", "b", *CHECK), ("revoke", "a"), ("list",)])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"{}", "keys: is missing"), (b"\xff", "is not UTF-8 text"), (b"", "is not JSON")],
)
def test_a_file_that_is_none_of_keys_is_told_and_left_as_it_is(
    file: Path, command: tuple[str, ...], content: bytes, problem: str
) -> None:
    file.write_bytes(content)

    result = run("keys", *command, "--file", str(file))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {file}: {problem}")
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("command", "path"),
    [(("revoke", "a"), "none.json"), (("list",), "none.json"), (("new", "a", *CHECK), "no/k.json")],
)
def test_a_file_that_is_not_there_is_told(
    tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    result = run("keys", *command, "--file", str(tmp_path / path))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path / path}: No such file or directory\n"


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode(file: Path) -> None:
    made(file, "a")
    assert mode_of(file) == 0o600
    file.chmod(0o640)

    made(file, "b")

    assert mode_of(file) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another owner")
def test_an_old_file_keeps_its_owner(file: Path) -> None:
    made(file, "a")
    os.chown(file, 12345, 23456)

    made(file, "b")

    assert (file.stat().st_uid, file.stat().st_gid, mode_of(file)) == (12345, 23456, 0o600)


def test_a_link_stays_one_and_what_it_leads_to_is_changed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "real.json"
    file.symlink_to(real)

    key = made(file, "a")
    second = made(file, "b")

    assert file.is_symlink()
    assert taken(real, key)
    assert taken(real, second)


def test_whoever_has_the_file_open_goes_on_reading_the_old_one(file: Path) -> None:
    made(file, "a")
    before = file.read_text()
    with file.open() as reader:
        made(file, "b")

        assert reader.read() == before


async def test_keys_that_are_made_at_once_are_all_there(file: Path) -> None:
    # A slow disk, so that each would overwrite what the others made meanwhile.
    slow = "import os, time; sync = os.fsync; os.fsync = lambda d: (time.sleep(0.3), sync(d))"
    results = await asyncio.gather(
        *(
            in_a_process("keys", "new", name, "--file", str(file), *CHECK, program=slow)
            for name in ("a", "b", "c")
        )
    )

    assert [status for status, _, _ in results] == [0, 0, 0]
    assert all(taken(file, key.strip()) for _, key, _ in results)


async def test_a_disk_that_is_full_leaves_the_file_as_it_was(file: Path) -> None:
    key = made(file, "a")
    full = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    )

    status, out, err = await in_a_process(
        "keys", "new", "b", "--file", str(file), *CHECK, program=full
    )

    assert (status, out, err) == (1, "", f"Error: {file}: File too large\n")
    assert taken(file, key)
    assert [each.name for each in file.parent.iterdir()] == [file.name]
