"""`serve --check`: tells all that is wrong before a start, and changes nothing."""

import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from liquidation.store.sqlite.schema import NEWEST
from tests.cli.checking import check, check_as_a_user, contents, finding, told
from tests.cli.commands import run
from tests.processes import serving

pytestmark = pytest.mark.usefixtures("directory")
PARTS = [
    "listen", "tls", "API keys", "rules", "candidate rules", "store", "log", "metrics", "tracing",
    "workers",
]  # fmt: skip


def test_a_server_without_any_setting_is_fine_and_every_part_is_told() -> None:
    result = check()

    assert result.exit_code == 0
    assert [part for _, part, _ in told(result)] == PARTS
    assert {state for state, _, _ in told(result)} == {"ok"}


def test_all_that_is_wrong_is_told_and_not_only_the_first(directory: Path) -> None:
    (directory / "keys.json").write_text("{}")
    (directory / "plain").write_text("no directory")
    result = check(
        *("--listen", "0.0.0.0:0", "--tls-key", "k", "--api-keys", "keys.json"),
        *("--rules", "none.toml", "--candidate-rules", "none.toml", "--store", "sqlite:plain/db"),
        *("--log-file", "no/where.log", "--metrics-listen", "0.0.0.0:0", "--tls-client-ca", "ca"),
    )

    wrong = [part for state, part, _ in told(result) if state == "wrong"]
    assert result.exit_code == 1
    assert wrong == [
        *("listen", "client CA", "tls", "API keys", "rules", "candidate rules", "store", "log"),
        "metrics",
    ]


def test_nothing_is_made_by_a_check(directory: Path) -> None:
    check("--listen", "unix:s", "--log-file", "new.log", "--metrics-listen", "0")

    assert contents(directory) == {}


def test_a_flag_that_is_not_allowed_ends_it_with_two() -> None:
    assert check("--workers", "0").exit_code == 2


def test_what_a_check_finds_wrong_keeps_a_server_from_starting() -> None:
    for arguments in (
        ("--listen", "0.0.0.0:0"),
        ("--listen", "unix:no/where"),
        ("--listen", "127.0.0.1:0", "--rules", "none.toml"),
        ("--listen", "127.0.0.1:0", "--tls-cert", "none.crt"),
        ("--listen", "127.0.0.1:0", "--api-keys", "none.json"),
        ("--listen", "127.0.0.1:0", "--store", "sqlite:no/where"),
        ("--listen", "127.0.0.1:0", "--log-file", "no/where"),
        ("--listen", "127.0.0.1:0", "--metrics-listen", "[::]:0"),
        ("--listen", "unix:s", "--listen", "unix:./s"),
    ):
        assert check(*arguments).exit_code == 1, arguments
        started = run("serve", *arguments)
        assert (started.exit_code, started.stdout) == (1, ""), arguments
        assert started.stderr, arguments


def test_a_port_in_use_is_told_and_is_not_wrong(directory: Path) -> None:
    with serving(directory) as server:
        in_use = f"{server.address}: in use; no fault where it is the service that this one is to"
        for part, flag in (("listen", "--listen"), ("metrics", "--metrics-listen")):
            state, words = finding(part, flag, server.address)
            assert (state, words) == ("note", f"{in_use} replace")
        assert finding(
            "metrics", "--listen", server.address, "--metrics-listen", server.address
        ) == ("wrong", f"{server.address}: is to take calls already")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_does_not_notice_that_somebody_looks(directory: Path, workers: str) -> None:
    flags = ("--listen", "127.0.0.1:0", "--listen", "unix:s", "--workers", workers)
    with serving(directory, *flags, "--log-file", "d.log") as server:
        before = contents(directory)
        result = check(
            *("--listen", server.address, "--listen", "unix:s", "--log-file", "d.log"),
            *("--workers", workers),
        )
        # The service may go on with its log.
        assert contents(directory) | {"d.log": before["d.log"]} == before
        assert run("health", "--address", server.address).exit_code == 0
        assert run("health", "--address", "unix:s").exit_code == 0

    assert result.exit_code == 0
    states = {(part, words): state for state, part, words in told(result)}
    assert states["store", f"sqlite:liquidation.db: schema version {NEWEST}"] == "ok"
    assert [state for (part, _), state in states.items() if part == "listen"] == ["note", "note"]


def test_a_name_that_leads_nowhere_is_wrong() -> None:
    state, words = finding(
        "listen",
        *("--listen", "nowhere.invalid:1024", "--allow-plaintext-beyond-loopback", "calls"),
    )

    assert state == "wrong"
    assert words.startswith("nowhere.invalid:1024: ")


def test_plain_text_to_other_hosts_that_is_allowed_is_a_note() -> None:
    assert finding(
        "listen", "--listen", "0.0.0.0:0", "--allow-plaintext-beyond-loopback", "calls"
    ) == ("note", "0.0.0.0:0: free, and in plain text to other hosts, as it is allowed")


def test_an_address_that_is_given_twice_is_wrong() -> None:
    result = check("--listen", "unix:s", "--listen", "unix:./s")

    assert told(result)[1] == ("wrong", "listen", "unix:s: is given twice")


def test_a_free_port_may_be_asked_for_twice() -> None:
    assert check("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0").exit_code == 0


def test_what_stands_at_the_path_of_a_socket_is_told(directory: Path) -> None:
    (directory / "file").touch()
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind("stale")

    for path, state, words in (
        ("new", "ok", "free"),
        ("stale", "ok", "free; a socket that nobody listens on will be replaced"),
        ("file", "wrong", "something else than a socket is there"),
        ("none/s", "wrong", "none: No such file or directory"),
        ("file/s", "wrong", "file is not a directory"),
    ):
        assert finding("listen", "--listen", f"unix:{path}") == (state, f"unix:{path}: {words}")
    assert stat.S_ISSOCK((directory / "stale").stat().st_mode)


def test_a_socket_that_everybody_may_connect_to_is_a_note() -> None:
    result = check("--listen", "unix:s", "--unix-mode", "0666")

    assert told(result)[1][::2] == ("note", "unix:s: with --unix-mode 0666 every user may connect")


def test_a_socket_for_another_user_is_a_note(directory: Path) -> None:
    directory.chmod(0o777)
    owner = ("--listen", "unix:s", "--unix-owner", "0:0")

    status, output = check_as_a_user(*owner)

    assert status == 0
    assert "unix:s: giving it to 0:0 takes the right to do so (CAP_CHOWN)" in output


def test_workers_on_a_unix_socket_are_a_note() -> None:
    assert finding("workers", "--workers", "3")[0] == "ok"
    assert finding("workers", "--workers", "3", "--listen", "unix:s")[0] == "note"
