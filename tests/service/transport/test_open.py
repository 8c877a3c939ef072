"""Which transport a server gets."""

import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from liquidation.transport import open as opening
from liquidation.transport import open_server, queue_call, queue_loop
from liquidation.transport.queue import QueueServer
from liquidation.transport.threads import ThreadsServer
from tests.service.transport.echo import PATIENCE_S, Echo, plain

QUEUE_MODULES = (
    "queue",
    "queue_call",
    "queue_loop",
    "queue_streams",
    "queue_waiting",
)


def opened(kind: str | None) -> tuple[Any, str]:
    """A server that answers, and why it is on that transport."""
    server, problem = open_server(kind, Echo().handlers())
    port = server.listen("127.0.0.1:0")
    server.start()
    with plain(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/echo/Echo")(b"hello", timeout=PATIENCE_S) == b"hello"
    server.drain(0)
    return server, problem


@pytest.mark.parametrize("kind", ["queue", None])
def test_the_queue_is_used_where_it_works(kind: str | None) -> None:
    server, problem = opened(kind)
    assert isinstance(server, QueueServer)
    assert problem == ""


def test_threads_are_used_where_they_are_wanted() -> None:
    server, problem = opened("threads")
    assert isinstance(server, ThreadsServer)
    assert problem == ""


def test_there_is_no_other_transport() -> None:
    with pytest.raises(ValueError, match="smoke signals"):
        open_server("smoke signals", {})


def test_threads_are_used_where_a_name_of_the_private_module_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in QUEUE_MODULES:
        monkeypatch.delitem(sys.modules, f"liquidation.transport.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "grpc._cython.cygrpc", ModuleType("cygrpc"))
    server, problem = open_server("queue", {})
    assert type(server).__name__ == "ThreadsServer"
    assert problem.startswith("ImportError: cannot import name")


class _ChangedError(Exception):
    """How a private module may fail that has changed."""


def changed(*_: object, **__: object) -> None:
    raise _ChangedError("it takes other arguments now")


def test_threads_are_used_where_an_operation_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_call, "SendStatusFromServerOperation", changed)
    server, problem = opened(None)
    assert isinstance(server, ThreadsServer)
    assert problem
    assert problem != "it did not answer in time"


def test_threads_are_used_where_the_server_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_loop, "CoreServer", changed)
    server, problem = opened("queue")
    assert isinstance(server, ThreadsServer)
    assert problem == "_ChangedError: it takes other arguments now"


def test_threads_are_used_where_the_trial_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(opening, "_try_queue", lambda *_: end.wait(PATIENCE_S))
    monkeypatch.setattr(opening, "_TRIAL_S", 0.05)
    server, problem = opened("queue")
    end.set()
    assert isinstance(server, ThreadsServer)
    assert problem == "it did not answer in time"
