"""No secret of the configuration or of a call is told: in no log, reply, scrape or span.

Each is planted where it belongs, or where somebody puts it by mistake. What a caller writes into
the fields of a request is no secret: it is logged on purpose.
"""

import asyncio
import base64
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from liquidation.v1.liquidation_service_pb2 import PutLiquidationRequest
from tests import samples
from tests.collectors import Collector, collecting
from tests.processes import Process, serving
from tests.service.metrics.scrapes import scrape

SERVICE = "/liquidation.v1.LiquidationRulesService"
REGISTER = "/liquidation.v1.LiquidationService"
PLANTED = {
    "the key of redaction": "S3cret-redact",
    "the password of the database": "S3cret-database",
    "the password in the environment": "S3cret-environment",
    "a token": "S3cret-collector",
    "a cookie": "S3cret-cookie",
    "another header": "S3cret-header",
    "a binary header": "S3cret-binary",
    "a key that is malformed": "S3cret-malformed",
    "a key that nobody has": f"lq_0123456789ab_{'S3cret-' * 6}x",
    "a password in the rules": "S3cret-rules",
    "a key among the hashes": "S3cret-hashes",
}
HEADERS = (
    ("cookie", PLANTED["a cookie"]),
    ("x-api-key", PLANTED["another header"]),
    ("x-token-bin", PLANTED["a binary header"].encode()),
)


def leaks(text: str, secrets: dict[str, str]) -> set[str]:
    """Which of the secrets stand in a text, as they are or in base64."""
    return {
        name
        for name, secret in secrets.items()
        if secret in text or base64.b64encode(secret.encode()).decode()[:12] in text
    }


def command(directory: Path, *arguments: str, **environment: str) -> str:
    """All that the command line says."""
    told = subprocess.run(
        [sys.executable, "-m", "liquidation.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
    )
    return told.stdout + told.stderr


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """What is planted, with an API key and a private key that are made; the files are there."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    (tmp_path / "rules.toml").write_text('version = "1"\n')
    rights = [word for each in ("check", "liquidations") for word in ("--permission", each)]
    made = command(tmp_path, "keys", "new", "backend", *rights, "--file", "keys.json")
    (key,) = (word for word in made.split() if word.startswith("lq_"))
    private = leaf.private_key_pem.bytes().decode().splitlines()
    return PLANTED | {"an API key": key, "the private key": private[len(private) // 2]}


async def ask(server: Process, directory: Path, path: str, key: str, request: bytes) -> str:
    """What a call is answered, and everything that travels with the answer."""
    trust = grpc.ssl_channel_credentials((directory / "ca.crt").read_bytes())
    metadata = (("authorization", f"Bearer {key}"), *HEADERS)
    async with grpc.aio.secure_channel(server.address, trust) as channel:
        method: Any = channel.unary_unary(path)
        call = method(request, metadata=metadata, timeout=30)
        code = await call.code()
        answer = repr(await call) if code is grpc.StatusCode.OK else await call.details()
        return f"{code} {answer} {await call.trailing_metadata()} {await call.initial_metadata()}"


async def called(server: Process, directory: Path, secrets: dict[str, str]) -> list[str]:
    """The answers to calls of all kinds: a good one, bad keys, no message, a fault of ours."""
    good = secrets["an API key"]
    check = samples.check(samples.low_request()).SerializeToString()
    by_id = samples.check({"terms": samples.low_request()["terms"]}).SerializeToString()
    answers = [
        await ask(server, directory, f"{SERVICE}/CheckClaim", key, request)
        for key, request in (
            (good, check),
            (good, b"\xff"),
            (secrets["a key that is malformed"], check),
            (secrets["a key that nobody has"], check),
        )
    ]
    snapshot = samples.snapshot(samples.low())
    put = PutLiquidationRequest(liquidation=snapshot).SerializeToString()
    answers.append(await ask(server, directory, f"{REGISTER}/PutLiquidation", good, put))
    with closing(sqlite3.connect(directory / "store.db")) as connection, connection:
        connection.execute('UPDATE liquidation SET snapshot = \'{"no": "snapshot"}\'')
    answers.append(await ask(server, directory, f"{SERVICE}/CheckClaim", good, by_id))
    return answers


def make_faults(server: Process, directory: Path) -> None:
    """Puts secrets where they do not belong, and has the files read again."""
    rules = f'version = "2"\npassword = "{PLANTED["a password in the rules"]}"\n'
    (directory / "rules.toml").write_text(rules)
    keys = json.loads((directory / "keys.json").read_text())
    keys["keys"][0]["sha256"] = PLANTED["a key among the hashes"]
    (directory / "keys.json").write_text(json.dumps(keys))
    server.popen.send_signal(signal.SIGHUP)


async def until_told(log: Path, event: str, times: int) -> None:
    """Returns once the log has `times` lines of an event."""
    async with asyncio.timeout(30):
        while log.read_text().count(f'"event":"{event}"') < times:  # noqa: ASYNC240 - it is short
            await asyncio.sleep(0.01)


async def everything(collector: Collector, directory: Path, secrets: dict[str, str]) -> list[str]:
    """What a server with every listener and every file says in its life, to anybody."""
    environment = {
        "LIQUIDATION_LOG_REDACT_KEY": secrets["the key of redaction"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={secrets['a token']}",
    }
    arguments = (
        *("--listen", "127.0.0.1:0", "--tls-cert", "tls.crt", "--tls-key", "tls.key"),
        *("--api-keys", "keys.json", "--rules", "rules.toml", "--store", "sqlite:store.db"),
        *("--log-file", "decisions.log", "--log-redact", "liquidator_id", "--tracing", "otlp"),
        *("--metrics-listen", "127.0.0.1:0"),
    )
    log = directory / "decisions.log"
    with serving(directory, *arguments, environment=environment) as server:
        told = await called(server, directory, secrets)
        make_faults(server, directory)
        await until_told(log, "reload_failed", 2)
        health = ("health", "--address", server.address, "--tls-ca", "ca.crt")
        told.append(await asyncio.to_thread(command, directory, *health))
        told.append(scrape(server.serving["metrics"]).text)
        told.append(json.dumps(server.serving))
        server.popen.send_signal(signal.SIGTERM)
        said = await asyncio.to_thread(server.popen.communicate)
    check = await asyncio.to_thread(command, directory, "serve", "--check", *arguments)
    return [*told, *said, check, log.read_text(), f"{collector.spans}{collector.resources}"]


async def test_a_server_tells_none_of_its_secrets_nor_of_its_callers(
    tmp_path: Path, secrets: dict[str, str]
) -> None:
    async with collecting() as collector:
        told = await everything(collector, tmp_path, secrets)

    accepted, malformed, *refused, put, fault = told[:6]
    assert accepted.startswith(f"{grpc.StatusCode.OK} ")
    assert put.startswith(f"{grpc.StatusCode.OK} ")
    assert malformed.startswith(str(grpc.StatusCode.INVALID_ARGUMENT))
    assert all(each.startswith(str(grpc.StatusCode.UNAUTHENTICATED)) for each in refused)
    assert fault.startswith(str(grpc.StatusCode.INTERNAL))
    assert "Traceback" in told[-2]
    assert {text: leaks(text, secrets) for text in told if leaks(text, secrets)} == {}


async def test_the_password_of_a_database_that_is_not_reached_is_told_nowhere(
    tmp_path: Path, secrets: dict[str, str]
) -> None:
    url = f"postgresql://liquidation:{secrets['the password of the database']}@127.0.0.1:1/db"
    environment = {"PGPASSWORD": secrets["the password in the environment"]}
    arguments = ("--listen", "127.0.0.1:0", "--store", url, "--log-file", "decisions.log")
    with serving(tmp_path, *arguments, environment=environment) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            method: Any = channel.unary_unary(f"{SERVICE}/CheckClaim")
            call = method(samples.check(samples.low_request()).SerializeToString(), timeout=30)
            answer = f"{await call.code()} {await call.details()} {await call.trailing_metadata()}"
        health = await asyncio.to_thread(command, tmp_path, "health", "--address", server.address)
        server.popen.send_signal(signal.SIGTERM)
        said = await asyncio.to_thread(server.popen.communicate)
    looked = [
        await asyncio.to_thread(command, tmp_path, *each, **environment)
        for each in (("db", "status", "--store", url), ("serve", "--check", *arguments))
    ]

    log = (tmp_path / "decisions.log").read_text()
    assert answer.startswith(str(grpc.StatusCode.UNAVAILABLE))
    assert "store_unavailable" in log
    for text in (answer, health, *said, *looked, log, json.dumps(server.serving)):
        assert leaks(text, secrets) == set()


def test_a_secret_is_found_in_a_text_as_it_is_and_in_base64() -> None:
    secrets = {"one": "S3cret-one", "other": "S3cret-other"}
    encoded = base64.b64encode(b"S3cret-other").decode()

    assert leaks("nothing to see", secrets) == set()
    assert leaks("it is S3cret-one.", secrets) == {"one"}
    assert leaks(f"head_base64: {encoded}", secrets) == {"other"}
