"""How a command reaches a server: with the key in a file, over TLS, and what ends it before."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.certificates import LOCAL, Authority, Issued
from tests.cli.commands import REAL_REQUESTS, REQUESTS, run, run_apart
from tests.sidecars import Running, running

ONE_CLAIM = REQUESTS.read_bytes().splitlines()[0]
LIST = ("claims", "list", "--format", "jsonl")
COMMANDS = {
    "check unary": ("check", "--file", "CLAIM", "--format", "jsonl", "--mode", "unary"),
    "check batch": ("check", "--file", "CLAIM", "--format", "jsonl", "--mode", "batch"),
    "check stream": ("check", "--file", "CLAIM", "--format", "jsonl", "--mode", "stream"),
    "rules": ("rules", "--format", "json"),
    "claims list": LIST,
}


@dataclass(frozen=True)
class Keyed:
    """A directory with the server's file of keys, and with a key in a file of its own."""

    keys: Path
    key_file: Path
    key: str


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    keys, key_file = tmp_path / "keys.json", tmp_path / "backend.key"
    made = run("keys", "new", "backend", "--file", str(keys), "--permission", "admin").stdout
    key_file.write_text(made)
    (tmp_path / "claim.jsonl").write_bytes(ONE_CLAIM)
    return Keyed(keys, key_file, made.strip())


@dataclass(frozen=True)
class Files:
    """Certificates of a server and of callers, each of an authority of its own, as files."""

    directory: Path
    servers: Authority
    callers: Authority
    caller: Issued

    def serving(self) -> dict[str, Any]:
        """The settings of a server with TLS."""
        cert, key = self.directory / "server.crt", self.directory / "server.key"
        self.servers.issue(*LOCAL).write(cert, key)
        return {"tls_cert": cert, "tls_key": key}

    @property
    def ca(self) -> Path:
        path = self.directory / "servers.crt"
        path.write_bytes(self.servers.pem)
        return path

    @property
    def client_ca(self) -> Path:
        path = self.directory / "callers.crt"
        path.write_bytes(self.callers.pem)
        return path

    def options(self, shown: Issued | None) -> tuple[str, ...]:
        """What a command is given to trust the server, and to show a certificate."""
        trusting = ("--tls-ca", str(self.ca))
        if shown is None:
            return trusting
        cert, key = self.directory / "caller.crt", self.directory / "caller.key"
        shown.write(cert, key)
        return (*trusting, "--tls-cert", str(cert), "--tls-key", str(key))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    callers = Authority()
    return Files(tmp_path, Authority(), callers, callers.issue("caller@example.com"))


async def asked(server: Running, command: tuple[str, ...], *more: str) -> Result:
    """A command, asked of the server; its file of claims lies beside the server's log."""
    claim = str(server.log_file.parent / "claim.jsonl")
    arguments = [claim if each == "CLAIM" else each for each in command]
    return await run_apart(*arguments, "--address", server.address, *more)


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS.values(),
        ("claims", "show", "c"),
        ("claims", "cancel", "c", "--force", "--reason", "gone", "--yes"),
        ("health",),
    ],
    ids=" ".join,
)
def test_a_server_that_is_not_there_is_told_in_one_line(command: tuple[str, ...]) -> None:
    arguments = [str(REQUESTS) if each == "CLAIM" else each for each in command]

    result = run(*arguments, "--address", "unix:/none")

    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: unix:/none: UNAVAILABLE")
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_the_key_in_a_file_is_shown(
    tmp_path: Path, keyed: Keyed, command: tuple[str, ...]
) -> None:
    async with running(tmp_path, api_keys=keyed.keys) as server:
        answered = await asked(server, command, "--api-key-file", str(keyed.key_file))

    assert (answered.exit_code, answered.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_without_a_key_that_is_taken_a_command_ends_with_one_line(
    tmp_path: Path, keyed: Keyed, command: tuple[str, ...]
) -> None:
    run("keys", "revoke", "backend", "--file", str(keyed.keys))
    async with running(tmp_path, api_keys=keyed.keys) as server:
        unshown = await asked(server, command)
        revoked = await asked(server, command, "--api-key-file", str(keyed.key_file))

    for result in (unshown, revoked):
        assert (result.exit_code, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {server.address}: refused the call: -1002 ")
        assert keyed.key[16:] not in line


async def test_the_file_of_the_key_is_named_by_the_environment_too(
    tmp_path: Path, keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIQUIDATION_API_KEY_FILE", str(keyed.key_file))
    async with running(tmp_path, api_keys=keyed.keys) as server:
        assert (await asked(server, LIST)).exit_code == 0


@pytest.mark.parametrize("command", [("check", "--file", str(REAL_REQUESTS)), ("rules",)])
def test_where_no_server_is_asked_a_key_of_the_environment_is_no_matter(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIQUIDATION_API_KEY_FILE", "/no/such/file")

    assert run(*command).exit_code == 0


@pytest.mark.parametrize(
    "more",
    [("--api-key-file", "a"), ("--tls-ca", "a"), ("--tls-ca", "a", "--api-key-file", "b")],
    ids=" ".join,
)
@pytest.mark.parametrize("command", [("check", "--file", str(REQUESTS)), ("rules",)], ids=" ".join)
def test_what_is_for_a_server_needs_an_address(
    command: tuple[str, ...], more: tuple[str, ...]
) -> None:
    result = run(*command, *more)

    assert "are for a server: give --address" in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    "content", ["", "\n", "lq_secret lq_secret", "lq_secret\nlq_secret\n", "lq_s\u00e9cret"]
)
def test_a_file_that_does_not_hold_one_key_ends_the_command_and_is_not_shown(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "backend.key"
    path.write_text(content, encoding="utf-8")

    result = run(*LIST, "--api-key-file", str(path))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {path}: must hold one API key and nothing else\n"


@pytest.mark.parametrize(
    "option", [("--api-key-file",), ("--tls-ca",), ("--tls-cert",), ("--tls-key",)], ids="".join
)
def test_a_file_that_cannot_be_read_is_named(files: Files, option: tuple[str, ...]) -> None:
    commands = [LIST] if option == ("--api-key-file",) else [LIST, ("health",)]
    for command in commands:
        result = run(*command, *files.options(files.caller), *option, "/no/such/file")

        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: /no/such/file: ")
        assert line.endswith("No such file or directory")
        assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize("command", ["check stream", "rules", "claims list"])
async def test_a_server_with_a_certificate_is_asked_over_tls(
    tmp_path: Path, keyed: Keyed, files: Files, command: str
) -> None:
    async with running(tmp_path, **files.serving(), api_keys=keyed.keys) as server:
        key = ("--api-key-file", str(keyed.key_file))
        trusting = await asked(server, COMMANDS[command], *key, *files.options(None))
        plain = await asked(server, COMMANDS[command], *key)

    assert (trusting.exit_code, trusting.stderr) == (0, "")
    assert plain.exit_code == 1
    assert plain.stderr.startswith(f"Error: {server.address}: UNAVAILABLE: ")


async def test_a_server_of_another_authority_is_not_believed(tmp_path: Path, files: Files) -> None:
    async with running(tmp_path, **files.serving()) as server:
        result = await asked(server, LIST, "--tls-ca", str(files.client_ca))

    assert result.exit_code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.stderr


async def test_over_mtls_the_certificate_is_shown(tmp_path: Path, files: Files) -> None:
    mutual = {**files.serving(), "tls_client_ca": files.client_ca}
    async with running(tmp_path, **mutual) as server:
        for command in (LIST, ("health",)):
            shown = await asked(server, command, *files.options(files.caller))
            unshown = await asked(server, command, *files.options(None))
            plain = await asked(server, command)

            assert (shown.exit_code, shown.stderr) == (0, "")
            for refused in (unshown, plain):
                assert refused.exit_code == 1
                assert refused.stderr.startswith(f"Error: {server.address}: UNAVAILABLE")


UNUSABLE: dict[str, tuple[Callable[[Files], tuple[str, ...]], str]] = {
    "no authority": (
        lambda files: ("--tls-ca", _file(files, "empty", b"")),
        "empty: holds no PEM certificate",
    ),
    "no certificate": (
        lambda files: (*files.options(files.caller), "--tls-cert", _file(files, "junk", b"junk")),
        "junk: holds no PEM certificate",
    ),
    "another's key": (
        lambda files: (
            *files.options(files.caller),
            *("--tls-key", _file(files, "other.key", files.callers.issue("a@b").key)),
        ),
        "other.key: is not the key of the first certificate in ",
    ),
    "a certificate that is over": (
        lambda files: files.options(
            files.callers.issue("a@b", begins=timedelta(days=-9), ends=timedelta(days=-1))
        ),
        " expired at ",
    ),
}


def _file(files: Files, name: str, content: bytes) -> str:
    path = files.directory / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(("options", "problem"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_is_of_no_use_for_tls_is_told_in_one_line(
    files: Files, options: Callable[[Files], tuple[str, ...]], problem: str
) -> None:
    result = run(*LIST, *options(files))

    (line,) = result.stderr.splitlines()
    assert problem in line
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--tls-ca", "a", "--tls-cert", "b"), "--tls-cert and --tls-key belong together"),
        (("--tls-ca", "a", "--tls-key", "b"), "--tls-cert and --tls-key belong together"),
        (("--tls-cert", "a", "--tls-key", "b"), "--tls-cert needs --tls-ca"),
    ],
)
@pytest.mark.parametrize(
    "command", [LIST, ("rules", "--address", "127.0.0.1:1")], ids=["claims", "rules"]
)
def test_files_that_do_not_go_together_are_a_wrong_use(
    command: tuple[str, ...], options: tuple[str, ...], problem: str
) -> None:
    result = run(*command, *options)

    assert problem in result.stderr
    assert (result.exit_code, result.stdout) == (2, "")
