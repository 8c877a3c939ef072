"""`liquidation health`: what a probe is told, of a server that serves and of one that does not."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.cli.health import health
from tests.service.test_faults import break_store, mend_store, until
from tests.sidecars import running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(grpc_health.HealthServicer):
    """Health with an event that tells of the first question."""

    def __init__(self) -> None:
        super().__init__(experimental_thread_pool=futures.ThreadPoolExecutor(1))
        self.asked = Event()

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC names it
        self.asked.set()
        return super().Check(request, context)


@pytest.fixture
def answering() -> Health:
    return Health()


@pytest.fixture
def server(answering: Health) -> Iterator[grpc.Server]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(answering, server)
    yield server
    server.stop(None).wait()


@pytest.fixture
def address(server: grpc.Server, tmp_path: Path) -> str:
    address = f"unix:{tmp_path}/s"
    server.add_insecure_port(address)
    server.start()
    return address


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(health, arguments)


async def test_the_service_is_told_to_serve_with_status_zero(tmp_path: Path) -> None:
    async with running(tmp_path) as sidecar:
        told = await asyncio.to_thread(asked, "--address", sidecar.address)

    assert told.exit_code == 0
    assert told.stdout.splitlines()[0] == "SERVING"


async def test_one_that_does_not_serve_is_told_with_what_it_says_about_that(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as sidecar:
        break_store(sidecar)
        await until(sidecar, "", NOT_SERVING)
        told = await asyncio.to_thread(asked, "--address", sidecar.address)
        live = await asyncio.to_thread(asked, "--address", sidecar.address, "--service", "live")
        mend_store(sidecar)

    assert told.exit_code == 1
    status, problem = told.stdout.splitlines()
    assert status == "NOT_SERVING"
    assert problem.startswith("  store: ")
    assert live.exit_code == 0


def test_each_part_has_a_health_of_its_own(answering: Health, address: str) -> None:
    answering.set("store", NOT_SERVING)
    answering.set("live", SERVING)

    assert asked("--address", address, "--service", "store").exit_code == 1
    assert asked("--address", address, "--service", "live").exit_code == 0


def test_a_part_that_the_server_does_not_have_is_not_taken_for_one_that_serves(
    address: str,
) -> None:
    told = asked("--address", address, "--service", "stroe")

    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == f"Error: {address}: there is no health of 'stroe'\n"


def test_a_server_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(address.removeprefix("unix:"))
        silent.listen()
        told = asked("--address", address, "--timeout", "0.2")

    assert told.exit_code == 1
    assert told.stderr == f"Error: {address}: no answer within 0.2 s\n"


def test_who_waits_is_told_once_it_serves(answering: Health, address: str) -> None:
    answering.set("", NOT_SERVING)
    results: list[Result] = []
    command = ("--address", address, "--wait", "--timeout", "60")
    waiting = Thread(target=lambda: results.append(asked(*command)))
    waiting.start()
    answering.asked.wait()
    answering.set("", SERVING)
    waiting.join()

    assert results[0].exit_code == 0
    assert results[0].stdout.splitlines()[0] == "SERVING"


def test_who_waits_in_vain_is_told_how_it_stands(answering: Health, address: str) -> None:
    answering.set("", NOT_SERVING)

    told = asked("--address", address, "--wait", "--timeout", "0.5")

    assert told.exit_code == 1
    assert told.stdout.splitlines()[0] == "NOT_SERVING"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tls-ca", "ca.pem", "--tls-cert", "cert.pem"),
        ("--tls-cert", "cert.pem", "--tls-key", "key.pem"),
        ("--timeout", "0"),
        ("--address", "50051"),
    ],
    ids=" ".join,
)
def test_what_is_not_meant_to_be_used_so_is_told(arguments: tuple[str, ...]) -> None:
    assert asked(*arguments).exit_code == 2
