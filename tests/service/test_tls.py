"""Handshakes with a real server: who gets in, what they see, and renewal while calls go on."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.config.addresses import Address, TcpAddress, UnixAccess, UnixAddress
from liquidation.config.certificates import read_certificates
from liquidation.config.tls import Certificates
from liquidation.server.listeners import bind
from liquidation.transport import Server
from tests.answering import answering_for_health
from tests.certificates import LOCAL, Authority, Issued, serial_shown

OPENSSL = shutil.which("openssl")
GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent))
FREE_PORT = TcpAddress("127.0.0.1", 0)
# What a server sends first on a connection that it takes: an HTTP/2 frame of type SETTINGS.
SETTINGS = 4


@dataclass
class Secured:
    """A server's files, and what it serves of them."""

    directory: Path
    servers: Authority
    clients: Authority
    current: Certificates

    def renew(self, issued: Issued) -> None:
        """Puts a certificate in force, as the reader of changed files does."""
        issued.write(self.directory / "tls.crt", self.directory / "tls.key")
        self.current = self.read(client_ca=self.current.client_ca is not None)

    def read(self, *, client_ca: bool) -> Certificates:
        return read_certificates(
            self.directory / "tls.crt",
            self.directory / "tls.key",
            self.directory / "clients.crt" if client_ca else None,
            datetime.now(UTC),
        )

    def credentials(self, client: Issued | None) -> grpc.ChannelCredentials:
        if client is None:
            return grpc.ssl_channel_credentials(self.servers.pem)
        return grpc.ssl_channel_credentials(self.servers.pem, client.key, client.chain)


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    """mTLS: servers are of one authority, clients of another."""
    servers, clients = Authority(), Authority()
    servers.issue(*LOCAL).write(tmp_path / "tls.crt", tmp_path / "tls.key")
    (tmp_path / "servers.crt").write_bytes(servers.pem)
    (tmp_path / "clients.crt").write_bytes(clients.pem)
    files = Secured(tmp_path, servers, clients, None)  # type: ignore[arg-type]
    files.current = files.read(client_ca=True)
    return files


@asynccontextmanager
async def answering(secured: Secured, *addresses: Address) -> AsyncIterator[tuple[str, ...]]:
    """A server that answers for its health, with the certificates in force."""
    access = UnixAccess()

    def listen(server: Server) -> tuple[str, ...]:
        return tuple(bind(server, each, lambda: secured.current, access) for each in addresses)

    async with answering_for_health(listen) as bound:
        yield bound


async def ask(channel: Any) -> bool:
    """Whether a server says on this channel that it serves."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def answers(address: str, credentials: grpc.ChannelCredentials) -> bool:
    """Whether a call is answered on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        return await ask(channel)


CLIENTS: Final[dict[str, Callable[[Secured], Issued | None]]] = {
    "right": lambda secured: secured.clients.issue("risk@backend"),
    "of another authority": lambda _: Authority().issue("risk@backend"),
    "of the servers' authority": lambda secured: secured.servers.issue("risk@backend"),
    "expired": lambda secured: secured.clients.issue(
        "risk@backend", begins=timedelta(days=-9), ends=timedelta(days=-1)
    ),
    "not yet valid": lambda secured: secured.clients.issue(
        "risk@backend", begins=timedelta(days=1), ends=timedelta(days=9)
    ),
    "none": lambda _: None,
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, secured: Secured) -> Iterator[tuple[bool, list[str]]]:
    """Whether a client is to be let in, and what it shows, as files for openssl and grpcurl."""
    issued = CLIENTS[request.param](secured)
    cert, key = secured.directory / "client.crt", secured.directory / "client.key"
    if issued is None:
        yield False, []
    else:
        issued.write(cert, key)
        yield request.param == "right", ["-cert", str(cert), "-key", str(key)]


@pytest.mark.skipif(OPENSSL is None, reason="it needs Debian's package openssl")
async def test_a_handshake_by_openssl_succeeds_with_the_right_certificate_alone(
    secured: Secured, client: tuple[bool, list[str]]
) -> None:
    let_in, shown = client
    async with answering(secured, FREE_PORT) as (address,):
        process = await asyncio.create_subprocess_exec(
            *(str(OPENSSL), "s_client", "-connect", address, "-alpn", "h2", "-quiet"),
            *("-CAfile", str(secured.directory / "servers.crt"), "-verify_return_error", *shown),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            first = await process.stdout.read(9)
            if let_in:
                assert first[3] == SETTINGS
            else:
                assert first == b""
                assert await process.wait() != 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.skipif(GRPCURL is None, reason="no grpcurl for this machine")
async def test_a_call_by_grpcurl_succeeds_with_the_right_certificate_alone(
    secured: Secured, client: tuple[bool, list[str]]
) -> None:
    let_in, shown = client
    async with answering(secured, FREE_PORT) as (address,):
        done = await _grpcurl(
            *("-cacert", str(secured.directory / "servers.crt"), *shown),
            address=address,
            patience_s=30 if let_in else 1,
        )

    assert (done.returncode == 0) is let_in
    assert ("SERVING" in done.stdout) is let_in
    if not let_in:
        assert "Failed to dial target host" in done.stderr


@pytest.mark.skipif(GRPCURL is None, reason="no grpcurl for this machine")
async def test_a_client_that_does_not_know_the_servers_authority_ends_the_handshake(
    secured: Secured,
) -> None:
    async with answering(secured, FREE_PORT) as (address,):
        done = await _grpcurl("-cacert", str(secured.directory / "clients.crt"), address=address)

    assert "certificate signed by unknown authority" in done.stderr


@pytest.mark.skipif(GRPCURL is None, reason="no grpcurl for this machine")
async def test_plain_text_gets_no_answer_where_calls_are_encrypted(secured: Secured) -> None:
    async with answering(secured, FREE_PORT) as (address,):
        done = await _grpcurl("-plaintext", address=address)

    assert (done.returncode, done.stdout) == (1, "")


async def _grpcurl(
    *arguments: str, address: str, patience_s: int = 1
) -> subprocess.CompletedProcess[str]:
    """Asks for the health; attempts that fail are given up after `patience_s`."""
    command = [str(GRPCURL), "-connect-timeout", str(patience_s), *arguments, address]
    return await asyncio.to_thread(
        subprocess.run,
        [*command, "grpc.health.v1.Health/Check"],
        capture_output=True,
        text=True,
        check=False,
    )


async def test_without_a_client_ca_no_certificate_is_asked_for(secured: Secured) -> None:
    secured.current = secured.read(client_ca=False)
    async with answering(secured, FREE_PORT) as (address,):
        assert await answers(address, secured.credentials(None))


async def test_a_unix_socket_stays_in_plain_text_beside_encrypted_listeners(
    secured: Secured,
) -> None:
    path = UnixAddress(secured.directory / "s")
    async with (
        answering(secured, FREE_PORT, path) as (_, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        assert await ask(channel)


async def test_every_listener_shows_a_renewed_certificate(secured: Secured) -> None:
    client = secured.clients.issue("risk@backend")
    async with answering(secured, FREE_PORT, TcpAddress("127.0.0.1", 0)) as addresses:
        first = Issued(secured.current.chain, secured.current.key)
        # The first that was put back is shown again.
        for renewed in (secured.servers.issue(*LOCAL), secured.servers.issue(*LOCAL), first):
            secured.renew(renewed)
            for address in addresses:
                assert await serial_shown(address, secured.servers, client) == renewed.serial


async def test_an_open_connection_goes_on_over_a_renewal(secured: Secured) -> None:
    client = secured.clients.issue("risk@backend")
    async with answering(secured, FREE_PORT) as (address,):
        credentials = secured.credentials(client)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            assert await ask(channel)
            # An authority that this client does not know: it could not connect anew.
            secured.renew(Authority().issue(*LOCAL))
            assert await ask(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answers(address, credentials)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_client_ca_decides_who_gets_in(secured: Secured) -> None:
    before = secured.credentials(secured.clients.issue("risk@backend"))
    successor = Authority()
    after = secured.credentials(successor.issue("risk@backend"))
    async with answering(secured, FREE_PORT) as (address,):
        assert await answers(address, before)
        (secured.directory / "clients.crt").write_bytes(successor.pem)
        secured.current = secured.read(client_ca=True)

        assert await answers(address, after)
        with pytest.raises(grpc.aio.AioRpcError):
            await answers(address, before)


async def test_twenty_renewals_under_load_fail_no_call(secured: Secured) -> None:
    client = secured.clients.issue("risk@backend")
    credentials = secured.credentials(client)
    renewed = asyncio.Event()
    answered: asyncio.Queue[None] = asyncio.Queue()

    async def call_until_renewed(address: str) -> None:
        while not renewed.is_set():
            assert await answers(address, credentials)
            answered.put_nowait(None)

    async with answering(secured, FREE_PORT) as (address,), asyncio.TaskGroup() as callers:
        for _ in range(4):
            callers.create_task(call_until_renewed(address))
        for _ in range(20):
            issued = secured.servers.issue(*LOCAL)
            secured.renew(issued)
            assert await serial_shown(address, secured.servers, client) == issued.serial
            for _ in range(answered.qsize() + 4):
                await answered.get()
        renewed.set()
