"""The ways to a server that wants API keys, and a server that takes no more calls."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.v1.liquidation_service_pb2 import PutLiquidationRequest
from tests.attacks.interop.clients import Answer, Place
from tests.certificates import LOCAL, Authority
from tests.cli.commands import run
from tests.deploy.envoys import front
from tests.processes import serving
from tests.samples import low, snapshot


@dataclass(frozen=True)
class Keys:
    """The file of hashed keys, and each key by the permission it has."""

    file: Path
    values: dict[str, str]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    values = {
        each: run("keys", "new", each, "--file", str(file), "--permission", each).stdout.strip()
        for each in ("admin", "check")
    }
    return Keys(file, values)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[tuple[Place, Place]]:
    """A server on an address and on a Unix socket."""
    directory = tmp_path_factory.mktemp("plain")
    socket = f"unix:{directory / 'socket'}"
    listen = ("--listen", "127.0.0.1:0", "--listen", socket)
    with serving(directory, *listen, "--api-keys", str(keys.file)) as process:
        yield Place(process.address), Place(socket)


@pytest.fixture(scope="module")
def tcp(plain: tuple[Place, Place]) -> Place:
    return plain[0]


@pytest.fixture(scope="module")
def unix(plain: tuple[Place, Place]) -> Place:
    return plain[1]


@pytest.fixture(scope="module")
def mtls(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Place]:
    """A server that shows its certificate and asks for the caller's."""
    directory = tmp_path_factory.mktemp("mtls")
    cert, key, client_ca, ca, client_cert, client_key = (
        directory / name
        for name in ("tls.crt", "tls.key", "clients.crt", "ca.crt", "client.crt", "client.key")
    )
    servers, clients = Authority(), Authority()
    servers.issue(*LOCAL).write(cert, key)
    clients.issue("risk@backend").write(client_cert, client_key)
    ca.write_bytes(servers.pem)
    client_ca.write_bytes(clients.pem)
    tls = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(client_ca))
    with serving(directory, *tls, "--api-keys", str(keys.file)) as process:
        yield Place(process.address, (ca, client_cert, client_key))


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Place]:
    with front(tmp_path_factory.mktemp("envoy"), "--api-keys", str(keys.file)) as before:
        yield Place(before.grpc_address)


@dataclass(frozen=True)
class Narrow:
    """A server that takes one call at a time, and its store."""

    place: Place
    store: Path

    def ask_while_full(self, ask: Callable[[Place], list[Answer]]) -> list[Answer]:
        """What is told of a server that has its call.

        That call is a put, which waits for another writer of the store, but for ten seconds at most
        (`--store-timeout`). Where it has ended meanwhile, the client is asked once more.
        """
        while True:
            with self._held() as held:
                told = ask(self.place)
                if not held.done():
                    return told

    @contextmanager
    def _held(self) -> Iterator[Any]:
        with (
            closing(sqlite3.connect(self.store, isolation_level=None)) as other,
            grpc.insecure_channel(self.place.target) as channel,
        ):
            other.execute("BEGIN IMMEDIATE")
            put: Any = channel.unary_unary("/liquidation.v1.LiquidationService/PutLiquidation")
            ask: Any = channel.unary_unary("/liquidation.v1.LiquidationRulesService/GetRules")
            request = PutLiquidationRequest(liquidation=snapshot(low()))
            held = put.future(request.SerializeToString())
            while not held.done() and ask.future(b"").code() is grpc.StatusCode.OK:
                pass
            yield held
            other.execute("ROLLBACK")
            held.code()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    directory = tmp_path_factory.mktemp("narrow")
    rules = directory / "rules.toml"
    rules.write_text('version = "default"\n[limits]\nmax_concurrent_calls = 1\n', encoding="utf-8")
    told = ("--rules", str(rules), "--store", "sqlite:store.db", "--store-timeout", "10")
    with serving(directory, *told) as process:
        yield Narrow(Place(process.address), directory / "store.db")
