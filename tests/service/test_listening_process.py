"""Where `liquidation serve` listens, and how calls are encrypted, as an operator sees it."""

import asyncio
import os
import signal
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.certificates import LOCAL, Authority, Issued, serial_shown
from tests.following import Following
from tests.processes import ROOT, serving, start
from tests.service.test_examples import run_python

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
TLS = ("--tls-cert", "tls.crt", "--tls-key", "tls.key")
# Only root may give a file away.
OWNER = (65534, 65533) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
MUTUAL_TLS = (*TLS, "--tls-client-ca", "ca.crt")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who issued the server's certificate, which stands in `tls.crt`, and vouches for clients."""
    authority = Authority()
    authority.issue(*LOCAL).write(tmp_path / "tls.crt", tmp_path / "tls.key")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    return authority


async def accepted(address: str, credentials: grpc.ChannelCredentials | None = None) -> bool:
    """What a server decides on a claim, on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel: Any = (
        grpc.aio.insecure_channel(address, options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options)
    )
    request = samples.check(samples.low_request()).SerializeToString()
    async with channel:
        data = await channel.unary_unary(CHECK)(request, timeout=30)
    return rules_service_pb2.CheckClaimResponse.FromString(data).decision.accepted


def credentials_of(authority: Authority, client: Issued | None) -> grpc.ChannelCredentials:
    if client is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, client.key, client.chain)


def refusal_to_start(directory: Path, *arguments: str) -> str:
    """What a server that does not start says on standard error."""
    with start(list(arguments), directory) as popen:
        printed, errors = popen.communicate(timeout=60)
    assert (popen.returncode, printed) == (1, "")
    assert "Traceback" not in errors
    return errors


async def test_with_a_client_ca_only_callers_with_its_certificates_are_answered(
    tmp_path: Path, authority: Authority
) -> None:
    """Before a bad renewal, which is told and changes nothing, and after it."""
    client = authority.issue("risk@backend")
    client.write(tmp_path / "client.crt", tmp_path / "client.key")
    files = [str(tmp_path / name) for name in ("ca.crt", "client.crt", "client.key")]
    with serving(tmp_path, *MUTUAL_TLS, "--log-file", "decisions.log") as process:
        assert await accepted(process.address, credentials_of(authority, client))
        for credentials in (
            credentials_of(authority, None),
            credentials_of(authority, Authority().issue("risk@backend")),
            None,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await accepted(process.address, credentials)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        example = ROOT / "examples" / "mutual_tls.py"
        assert await run_python(example, process.address, *files) == "rules in force: default\n"

        before = await serial_shown(process.address, authority, client)
        expired = authority.issue(*LOCAL, begins=timedelta(days=-9), ends=timedelta(days=-2))
        expired.write(tmp_path / "tls.crt", tmp_path / "tls.key")
        process.popen.send_signal(signal.SIGHUP)
        await Following(tmp_path / "decisions.log").until(
            lambda lines: any(
                "tls.crt: the certificate of" in line.get("problem", "") for line in lines
            )
        )

        assert await serial_shown(process.address, authority, client) == before
        assert await accepted(process.address, credentials_of(authority, client))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (TLS[:2], "--tls-cert and --tls-key must be given together"),
        (TLS[2:], "--tls-cert and --tls-key must be given together"),
        (("--tls-client-ca", "ca.crt"), "--tls-cert and --tls-key must be given together"),
        (("--tls-cert", "tls.crt", "--tls-key", "missing"), "missing: cannot be read"),
        (("--tls-cert", "tls.crt", "--tls-key", "other.key"), "other.key: is not the key of"),
        (("--tls-cert", "expired.crt", "--tls-key", "other.key"), "expired.crt: the certificate"),
        ((*TLS, "--tls-client-ca", "tls.key"), "tls.key: holds no PEM certificate"),
    ],
)
def test_a_fault_of_tls_ends_the_start_and_never_encryption(
    tmp_path: Path, authority: Authority, arguments: tuple[str, ...], words: str
) -> None:
    authority.issue(*LOCAL, begins=timedelta(days=-9), ends=timedelta(days=-2)).write(
        tmp_path / "expired.crt", tmp_path / "other.key"
    )

    assert words in refusal_to_start(tmp_path, "--listen", "127.0.0.1:0", *arguments)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_plain_text_to_other_hosts_is_refused_unless_told_so_in_words(
    tmp_path: Path, host: str
) -> None:
    errors = refusal_to_start(tmp_path, "--listen", f"{host}:0")

    assert f"cannot listen on {host}:0 in plain text" in errors
    assert "--allow-plaintext-beyond-loopback calls" in errors
    metrics_alone = ("--allow-plaintext-beyond-loopback", "metrics")
    assert "in plain text" in refusal_to_start(tmp_path, "--listen", f"{host}:0", *metrics_alone)


@pytest.mark.parametrize(
    "arguments", [("--allow-plaintext-beyond-loopback", "calls"), TLS], ids=["told so", "TLS"]
)
async def test_other_hosts_are_served_when_told_so_or_encrypted(
    tmp_path: Path, authority: Authority, arguments: tuple[str, ...]
) -> None:
    with serving(tmp_path, "--listen", "0.0.0.0:0", *arguments) as process:
        address = process.address.replace("0.0.0.0", "127.0.0.1")
        assert await accepted(
            address, credentials_of(authority, None) if arguments == TLS else None
        )


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_unix_socket_is_as_the_flags_say_and_its_server_s_alone_until_that_ends(
    tmp_path: Path, workers: str
) -> None:
    listen = ("--listen", f"unix:{tmp_path}/s", "--workers", workers)
    flags = (*listen, "--unix-mode", "0606", "--unix-owner", f"{OWNER[0]}:{OWNER[1]}")
    with serving(tmp_path, *flags) as process:
        found = (tmp_path / "s").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o606, *OWNER)
        for second in ("1", "2"):
            errors = refusal_to_start(
                tmp_path, *listen[:2], "--store", "sqlite:2.db", "--workers", second
            )
            assert f"cannot listen on unix:{tmp_path}/s: another process does" in errors
        assert await accepted(process.address)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait() == 0

    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path, workers: str) -> None:
    listen = ("--listen", f"unix:{tmp_path}/s")
    with serving(tmp_path, *listen) as killed:
        killed.popen.kill()
    assert stat.S_ISSOCK((tmp_path / "s").stat().st_mode)

    with serving(tmp_path, *listen, "--workers", workers) as process:
        assert await accepted(process.address)


def test_what_is_no_socket_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    errors = refusal_to_start(tmp_path, "--listen", f"unix:{tmp_path}/s")

    assert "something else than a socket is there" in errors
    assert (tmp_path / "s").read_text() == "precious"


async def test_a_port_and_a_socket_are_refused_together(tmp_path: Path) -> None:
    """Where one address is taken the others are given back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = ("--listen", f"unix:{tmp_path}/s", "--listen")
        refusal_to_start(tmp_path, *listen, f"127.0.0.1:{taken.getsockname()[1]}")
    with serving(tmp_path, "--listen", f"unix:{tmp_path}/s") as process:
        assert await accepted(process.address)


@pytest.mark.parametrize("workers", [1, 2])
async def test_renewed_certificates_under_load_fail_no_call(
    tmp_path: Path, authority: Authority, workers: int
) -> None:
    client = authority.issue("risk@backend")
    credentials = credentials_of(authority, client)
    ended = asyncio.Event()
    flags = (*MUTUAL_TLS, "--log-file", "decisions.log", "--workers", str(workers))

    async def call_until_the_end(address: str) -> None:
        while not ended.is_set():
            assert await accepted(address, credentials)

    with serving(tmp_path, *flags) as process:
        async with asyncio.TaskGroup() as callers:
            for _ in range(4):
                callers.create_task(call_until_the_end(process.address))
            # The last is taken up without being told of.
            for told in (True, True, True, True, False):
                issued = authority.issue(*LOCAL)
                issued.write(tmp_path / "tls.crt", tmp_path / "tls.key")
                if told:
                    process.popen.send_signal(signal.SIGHUP)
                # New connections are shown it, whichever worker takes them.
                in_a_row = 0
                while in_a_row < (1 if workers == 1 else 10):
                    shown = await serial_shown(process.address, authority, client)
                    in_a_row = in_a_row + 1 if shown == issued.serial else 0
            ended.set()
