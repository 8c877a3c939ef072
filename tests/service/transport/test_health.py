import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.transport import HealthTable
from tests.attacks.hostile.wire import CLOSED_WINDOW, Wire, call_headers, message, request
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, status, until

messages: Any = health_pb2
SERVING = messages.HealthCheckResponse.SERVING
NOT_SERVING = messages.HealthCheckResponse.NOT_SERVING
UNKNOWN = messages.HealthCheckResponse.SERVICE_UNKNOWN
with_list = pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListRequest"), reason="this grpcio-health-checking has no List"
)


@pytest.fixture
def table() -> HealthTable:
    table = HealthTable(max_watches=3)
    table.set("", True)
    table.set("a.Service", True)
    return table


@pytest.fixture
def running(serve: Serve, table: HealthTable) -> Running:
    return serve(handlers=table.handlers())


def stub(running: Running) -> Any:
    return health_pb2_grpc.HealthStub(running.channel())


def asked(name: str = "") -> Any:
    return messages.HealthCheckRequest(service=name)


def test_a_check_tells_what_serves(running: Running, table: HealthTable) -> None:
    health = stub(running)
    assert health.Check(asked(), timeout=PATIENCE_S).status == SERVING
    table.set("a.Service", False)
    assert health.Check(asked("a.Service"), timeout=PATIENCE_S).status == NOT_SERVING
    assert health.Check(asked(), timeout=PATIENCE_S).status == SERVING


@pytest.mark.parametrize("name", ["nobody", "x" * 129, "x" * 60_000])
def test_a_check_of_an_unknown_name_finds_nothing(running: Running, name: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub(running).Check(asked(name), timeout=PATIENCE_S)
    assert status(failed.value)[0] == "NOT_FOUND"


def test_a_check_tells_problems_in_its_trailers(running: Running, table: HealthTable) -> None:
    table.problems["store"] = "two\nlines: ü" + "x" * 300
    table.problems["keys"] = "unreadable"
    _, call = stub(running).Check.with_call(asked(), timeout=PATIENCE_S)
    told = [value for key, value in call.trailing_metadata() if key == "liquidation-problem"]
    assert told[1] == "keys: unreadable"
    assert told[0].startswith("store: two lines: ?xxx")
    assert len(told[0]) == 200


@with_list
def test_the_list_has_every_entry(running: Running, table: HealthTable) -> None:
    table.set("other", False)
    listed = stub(running).List(messages.HealthListRequest(), timeout=PATIENCE_S).statuses
    assert {name: each.status for name, each in listed.items()} == {
        "": SERVING,
        "a.Service": SERVING,
        "other": NOT_SERVING,
    }


def test_a_watch_tells_each_change(running: Running, table: HealthTable) -> None:
    watch = stub(running).Watch(asked("a.Service"), timeout=PATIENCE_S)
    assert next(watch).status == SERVING
    table.set("a.Service", False)
    assert next(watch).status == NOT_SERVING
    table.set("a.Service", True)
    assert next(watch).status == SERVING


def test_a_watch_of_an_unknown_name_goes_on(running: Running, table: HealthTable) -> None:
    watch = stub(running).Watch(asked("later"), timeout=PATIENCE_S)
    assert next(watch).status == UNKNOWN
    table.set("later", True)
    assert next(watch).status == SERVING


def test_a_name_that_is_too_long_is_watched_and_not_kept(
    running: Running, table: HealthTable
) -> None:
    watch = stub(running).Watch(asked("x" * 129), timeout=PATIENCE_S)
    assert next(watch).status == UNKNOWN
    assert list(table._watches.values()) == [None]


def test_no_more_than_so_many_watch(running: Running) -> None:
    health = stub(running)
    watches = [health.Watch(asked(), timeout=PATIENCE_S) for _ in range(3)]
    assert [next(each).status for each in watches] == [SERVING] * 3
    with pytest.raises(grpc.RpcError) as failed:
        next(health.Watch(asked(), timeout=PATIENCE_S))
    assert status(failed.value) == (
        "RESOURCE_EXHAUSTED",
        "The server has too many health watches.",
    )
    watches[0].cancel()

    def another_watches() -> bool:
        try:
            return bool(next(health.Watch(asked(), timeout=PATIENCE_S)).status == SERVING)
        except grpc.RpcError:
            return False

    until(another_watches)


def test_at_the_end_everybody_is_told(running: Running, table: HealthTable) -> None:
    health = stub(running)
    watch = health.Watch(asked("a.Service"), timeout=PATIENCE_S)
    assert next(watch).status == SERVING
    table.end()
    table.set("a.Service", True)
    assert next(watch).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as failed:
        next(watch)
    assert status(failed.value) == ("UNAVAILABLE", "The server ends.")
    assert health.Check(asked(), timeout=PATIENCE_S).status == NOT_SERVING
    late = health.Watch(asked(), timeout=PATIENCE_S)
    assert next(late).status == NOT_SERVING
    with pytest.raises(grpc.RpcError):
        next(late)


async def test_a_watcher_who_does_not_read_holds_nobody_up(
    running: Running, table: HealthTable
) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    body = message(asked("a.Service").SerializeToString())
    await wire.send(request(1, call_headers("/grpc.health.v1.Health/Watch"), body))
    until(lambda: table._watches)
    for number in range(100):
        table.set("a.Service", bool(number % 2))
    assert stub(running).Check(asked(), timeout=PATIENCE_S).status == SERVING
    table.end()
    draining = asyncio.create_task(asyncio.to_thread(running.server.drain, 10 * PATIENCE_S))
    await wire.until(1)
    await asyncio.wait_for(draining, PATIENCE_S)
    await wire.close()
    assert not table._watches


@pytest.mark.parametrize(
    ("data", "code"), [(bytes(65_537), "RESOURCE_EXHAUSTED"), (b"\xff", "INVALID_ARGUMENT")]
)
@pytest.mark.parametrize("method", ["Check", pytest.param("List", marks=with_list), "Watch"])
def test_requests_that_are_too_large_or_invalid_are_refused(
    running: Running, method: str, data: bytes, code: str
) -> None:
    call = running.channel().unary_stream(f"/grpc.health.v1.Health/{method}")
    with pytest.raises(grpc.RpcError) as failed:
        list(call(data, timeout=PATIENCE_S))
    assert status(failed.value)[0] == code
    assert running.faults == []
