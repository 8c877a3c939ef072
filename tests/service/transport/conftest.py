"""Servers of the echo service, on each of the two transports."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.service.transport.echo import SERVERS, Echo, Running

Serve = Callable[..., Running]


@pytest.fixture(params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a transport."""
    name: str = request.param
    return name


@pytest.fixture
def serve(kind: str) -> Iterator[Serve]:
    """Starts servers of the echo service; the arguments are those of a server and `listen`."""
    started: list[Running] = []

    def start(
        address: str = "127.0.0.1:0",
        credentials: Any = None,
        handlers: Any = None,
        **arguments: Any,
    ) -> Running:
        echo, faults = Echo(), list[BaseException]()
        server = SERVERS[kind](handlers or echo.handlers(), on_fault=faults.append, **arguments)
        port = server.listen(address, credentials)
        at = address.replace(":0", f":{port}") if address.endswith(":0") else address
        server.start()
        started.append(Running(server, at, echo, faults))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def running(serve: Serve) -> Running:
    """A server of the echo service."""
    return serve()
