"""The server on either transport: which it runs on, what it says of it, and its end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.attacks.hostile.wire import CLOSED_WINDOW, Wire, call_headers, message, request
from tests.processes import serving
from tests.sidecars import dial, health, running

WATCH = "/grpc.health.v1.Health/Watch"
STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
REQUEST = samples.check(samples.low_request())
TRANSPORTS = ("queue", "threads")

# A package that keeps the queue transport from being imported, as another grpcio may.
WITHOUT_QUEUE = "import sys\nsys.modules['liquidation.transport.queue'] = None\n"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_are_answered_on_the_transport_that_is_asked_for(
    tmp_path: Path, transport: str
) -> None:
    async with running(tmp_path, transport=transport) as server:
        assert (await server.check(REQUEST)).decision.accepted
        stream = server.channel.stream_stream(STREAM)()
        item = rules_service_pb2.StreamCheckClaimsRequest(request=REQUEST).SerializeToString()
        for _ in range(3):
            await stream.write(item)
            assert await stream.read() is not grpc.aio.EOF
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        async for response in health(server.channel, ""):
            assert response.status == health_pb2.HealthCheckResponse.SERVING
            break

    assert await server.lines("transport_fallback") == []


async def test_where_the_queue_cannot_be_used_the_server_says_so_once_and_runs_on_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "liquidation.transport.queue", None)
    async with running(tmp_path) as server:
        assert (await server.check(REQUEST)).decision.accepted

    (line,) = await server.lines("transport_fallback")
    assert line["level"] == "warning"
    assert "liquidation.transport.queue" in line["problem"]


async def test_threads_that_were_asked_for_are_no_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "liquidation.transport.queue", None)
    async with running(tmp_path, transport="threads") as server:
        assert (await server.check(REQUEST)).decision.accepted

    assert await server.lines("transport_fallback") == []


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_serving_line_comes_before_that_of_a_fallback(
    tmp_path: Path, workers: str
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT_QUEUE)
    path = [str(tmp_path / "without"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(path)}
    arguments = ("--listen", "127.0.0.1:0", "--workers", workers)
    with serving(tmp_path, *arguments, environment=environment) as process:
        assert process.serving["event"] == "serving"
        async with dial(process.address) as channel:
            await channel.unary_unary(CHECK)(REQUEST.SerializeToString())
        process.popen.send_signal(signal.SIGTERM)
        told = await asyncio.to_thread(process.output.read)

    assert told.count('"event":"transport_fallback"') == int(workers)
    assert process.popen.wait() == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_watch_that_is_not_read_holds_up_neither_health_nor_the_end(
    tmp_path: Path, transport: str
) -> None:
    # Far longer than the test may take: nothing that is open here is waited for.
    arguments = ("--log-file", "decisions.log", "--drain-time", "600", "--transport", transport)
    with serving(tmp_path, *arguments) as process:
        wire = await Wire.open(process.address, CLOSED_WINDOW)
        asked = message(health_pb2.HealthCheckRequest().SerializeToString())
        await wire.send(*(request(stream, call_headers(WATCH), asked) for stream in (1, 3, 5)))
        # Their answers' data may not come, but the connection lives.
        await wire.begun()
        async with dial(process.address) as channel:
            watch = health(channel, "")
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

            process.popen.send_signal(signal.SIGTERM)

            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await asyncio.to_thread(process.popen.wait, 60) == 0
        await wire.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_requests_that_are_held_back_do_not_hold_up_the_end(
    tmp_path: Path, transport: str
) -> None:
    arguments = ("--log-file", "decisions.log", "--drain-time", "1", "--transport", transport)
    with serving(tmp_path, *arguments) as process:
        wire = await Wire.open(process.address)
        await wire.send(*(request(stream, call_headers(CHECK)) for stream in (1, 3, 5)))
        await wire.begun()

        process.popen.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(process.popen.wait, 60) == 0
        await wire.close()
