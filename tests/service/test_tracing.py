"""Spans of calls, as a collector gets them, and the log that names their traces."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from liquidation.rules.errors import STORE_NOT_REACHED
from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.collectors import Collector, attributes, collecting, trace_ids
from tests.processes import Process, serving, start
from tests.service.test_claims import begin_request
from tests.sidecars import dial

RULES = "/liquidation.v1.LiquidationRulesService"
CHECK = f"{RULES}/CheckClaim"
STREAM = f"{RULES}/StreamCheckClaims"
BEGIN = "/liquidation.v1.ClaimService/BeginClaim"
ACCEPTED = samples.check(samples.low_request()).SerializeToString()
REFUSED = samples.check(samples.low_request({"ratio_qty_request": "0.1"})).SerializeToString()

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = (("traceparent", f"00-{TRACE}-{CALLER}-01"),)
NOT_SAMPLED = (("traceparent", f"00-{TRACE}-{CALLER}-00"),)
# Spans are sent when the service ends, unless there are many before that.
AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@contextmanager
def traced(
    directory: Path, collector: str, *arguments: str, **environment: str
) -> Iterator[Process]:
    """A server that sends its spans to a collector."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    flags = (*listen, "--tracing", "otlp", "--log-file", "decisions.log")
    to_collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}"}
    environment = to_collector | AT_THE_END | environment
    with serving(directory, *flags, *arguments, environment=environment) as process:
        yield process


async def ended(process: Process) -> str:
    """What the server said on standard error until its end, which it is asked for now."""
    process.popen.send_signal(signal.SIGTERM)
    # Far longer than it takes, and shorter than OpenTelemetry would wait for a collector.
    assert await asyncio.to_thread(process.popen.wait, 20) == 0
    assert process.popen.stderr is not None
    return process.popen.stderr.read()


async def call(
    channel: Any, request: bytes = ACCEPTED, method: str = CHECK, metadata: Any = ()
) -> grpc.StatusCode:
    try:
        await channel.unary_unary(method)(request, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def logged(directory: Path, event: str = "decision") -> list[dict[str, Any]]:
    complete, _, _ = (directory / "decisions.log").read_text().rpartition("\n")
    return [line for line in map(json.loads, complete.splitlines()) if line["event"] == event]


def break_store(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "liquidation.db")) as connection:
        connection.execute("ALTER TABLE liquidation RENAME TO elsewhere")


async def test_a_call_has_a_span_in_the_trace_of_its_caller_which_the_log_names(
    tmp_path: Path, collector: Collector
) -> None:
    with traced(tmp_path, collector.address) as process:
        async with dial(process.address) as channel:
            await call(channel, metadata=TRACED)
        assert await ended(process) == ""

    (span,), (line,) = collector.spans, logged(tmp_path)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert (span.name, span.kind) == (CHECK, Span.SPAN_KIND_SERVER)
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert line["trace_id"] == TRACE
    assert collector.resources[0]["service.name"] == "liquidation"
    found = attributes(span)
    peer = f"ipv4:{found.pop('net.peer.ip')}:{found.pop('net.peer.port')}"
    assert (peer, "grpc-python-asyncio" in found.pop("rpc.user_agent")) == (line["peer"], True)
    assert found == {
        "rpc.system": "grpc",
        "rpc.service": RULES.removeprefix("/"),
        "rpc.method": "CheckClaim",
        "rpc.grpc.status_code": 0,
        "net.peer.name": "localhost",
    }


@pytest.mark.parametrize("metadata", [(), (("traceparent", "00-nonsense-01"),)])
async def test_without_a_trace_of_the_caller_the_log_names_that_of_the_span(
    tmp_path: Path, collector: Collector, metadata: Any
) -> None:
    with traced(tmp_path, collector.address) as process:
        async with dial(process.address) as channel:
            for method, request in (
                (CHECK, ACCEPTED),
                (BEGIN, begin_request().SerializeToString()),
            ):
                await call(channel, request, method, metadata)
        assert await ended(process) == ""

    lines = logged(tmp_path) + logged(tmp_path, "claim")
    assert trace_ids(collector.spans) == [line["trace_id"] for line in lines]
    assert len(set(trace_ids(collector.spans))) == 2
    assert not any(span.parent_span_id for span in collector.spans)


@pytest.mark.parametrize(
    ("metadata", "sampler"),
    [(NOT_SAMPLED, "parentbased_always_on"), (TRACED, "always_off")],
    ids=["by the caller", "by the operator"],
)
async def test_a_call_that_is_not_sampled_has_no_span_and_the_log_names_its_trace(
    tmp_path: Path, collector: Collector, metadata: Any, sampler: str
) -> None:
    with traced(tmp_path, collector.address, OTEL_TRACES_SAMPLER=sampler) as process:
        async with dial(process.address) as channel:
            await call(channel, metadata=metadata)
        assert await ended(process) == ""

    assert collector.spans == []
    assert [line["trace_id"] for line in logged(tmp_path)] == [TRACE]


async def test_a_refusal_stands_in_the_span_by_its_grpc_code_and_only_a_failure_is_an_error(
    tmp_path: Path, collector: Collector
) -> None:
    with traced(tmp_path, collector.address) as process:
        async with dial(process.address) as channel:
            assert await call(channel, REFUSED) is grpc.StatusCode.FAILED_PRECONDITION
            break_store(tmp_path)
            assert await call(channel) is grpc.StatusCode.UNAVAILABLE
        assert await ended(process) == ""

    codes = [attributes(span)["rpc.grpc.status_code"] for span in collector.spans]
    assert codes == [9, 14]
    refused, failed = (span.status for span in collector.spans)
    assert refused.code == Status.STATUS_CODE_UNSET
    assert failed.code == Status.STATUS_CODE_ERROR
    assert failed.message.endswith(STORE_NOT_REACHED.message)


async def test_a_stream_is_one_span_which_the_line_of_each_of_its_items_names(
    tmp_path: Path, collector: Collector
) -> None:
    items = [
        rules_service_pb2.StreamCheckClaimsRequest(
            request=rules_service_pb2.CheckClaimRequest.FromString(request)
        ).SerializeToString()
        for request in (ACCEPTED, REFUSED, ACCEPTED)
    ]
    with traced(tmp_path, collector.address) as process:
        async with dial(process.address) as channel:
            for cancelled in (False, True):
                stream = channel.stream_stream(STREAM)(metadata=TRACED if cancelled else ())
                for item in items:
                    await stream.write(item)
                    await stream.read()
                if cancelled:
                    stream.cancel()
                else:
                    await stream.done_writing()
                    assert await stream.read() is grpc.aio.EOF
        assert await ended(process) == ""

    whole, cut = collector.spans
    assert [line["trace_id"] for line in logged(tmp_path)] == [whole.trace_id.hex()] * 3 + [
        TRACE
    ] * 3
    assert cut.trace_id.hex() == TRACE
    assert {span.name for span in collector.spans} == {STREAM}
    # What is refused within a stream is no status of the call.
    assert attributes(whole)["rpc.grpc.status_code"] == 0


async def test_health_and_reflection_make_no_spans(tmp_path: Path, collector: Collector) -> None:
    with traced(tmp_path, collector.address) as process:
        async with dial(process.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            await health.Check(health_pb2.HealthCheckRequest(), metadata=TRACED)
            async for _ in health.Watch(health_pb2.HealthCheckRequest()):
                break
            reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            async for _ in reflection.ServerReflectionInfo(iter([asked])):
                break
            await call(channel)
        assert await ended(process) == ""

    assert [span.name for span in collector.spans] == [CHECK]


async def test_spans_are_sent_while_the_service_goes_on(
    tmp_path: Path, collector: Collector
) -> None:
    with traced(tmp_path, collector.address, OTEL_BSP_SCHEDULE_DELAY="10") as process:
        async with dial(process.address) as channel:
            await call(channel)
            await collector.called.wait()
            assert process.popen.poll() is None

    assert [span.name for span in collector.spans] == [CHECK]


async def test_the_standard_variables_name_the_service(
    tmp_path: Path, collector: Collector
) -> None:
    named = {
        "OTEL_SERVICE_NAME": "risk-sidecar",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
    }
    with traced(tmp_path, collector.address, **named) as process:
        async with dial(process.address) as channel:
            await call(channel)
        assert await ended(process) == ""

    (resource,) = collector.resources
    assert resource["service.name"] == "risk-sidecar"
    assert resource["deployment.environment.name"] == "staging"


async def test_on_a_unix_socket_a_span_has_no_peer(tmp_path: Path, collector: Collector) -> None:
    with traced(tmp_path, collector.address, "--listen", f"unix:{tmp_path}/s") as process:
        async with dial(process.address) as channel:
            await call(channel)
        assert await ended(process) == ""

    (span,) = collector.spans
    assert not any(name.startswith("net.") for name in attributes(span))


async def test_every_worker_sends_its_spans_and_the_rest_of_them_at_the_end(
    tmp_path: Path, collector: Collector
) -> None:
    with traced(tmp_path, collector.address, "--workers", "2") as process:
        while {line["worker"] for line in logged(tmp_path)} != {0, 1}:
            async with dial(process.address) as channel:
                await call(channel)
        assert await ended(process) == ""

    lines = logged(tmp_path)
    assert sorted(trace_ids(collector.spans)) == sorted(line["trace_id"] for line in lines)


@contextmanager
def _nobody() -> Iterator[str]:
    """An address at which no collector listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def _silence() -> Iterator[str]:
    """An address at which connections are taken, and nothing is ever said."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize("absent", [_nobody, _silence])
async def test_a_collector_that_does_not_answer_holds_up_neither_calls_nor_the_end(
    tmp_path: Path, absent: Any
) -> None:
    # More than are sent at once, so that the exporter waits while calls go on.
    calls = 600
    with absent() as address:
        waits = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_BSP_SCHEDULE_DELAY": "10"}
        with traced(tmp_path, address, **waits) as process:
            async with dial(process.address) as channel:
                for _ in range(calls):
                    assert await call(channel) is grpc.StatusCode.OK
            errors = await ended(process)

    assert "Traceback" not in errors
    assert len(logged(tmp_path)) == calls
    assert logged(tmp_path, "stopped")


@pytest.fixture
def without_extra(tmp_path: Path) -> dict[str, str]:
    """An environment in which the packages of the extra are not there."""
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('opentelemetry')")
    path = [str(hidden.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_the_extra_the_start_is_refused_and_says_what_to_install(
    tmp_path: Path, without_extra: dict[str, str], workers: str
) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--tracing", "otlp", "--workers", workers]
    with start(arguments, tmp_path, without_extra) as popen:
        printed, errors = popen.communicate(timeout=60)

    assert (popen.returncode, printed) == (1, "")
    assert "--tracing otlp needs the extra otel" in errors
    assert "Traceback" not in errors


async def test_without_tracing_the_extra_is_not_needed_and_the_log_names_the_caller_s_trace(
    tmp_path: Path, without_extra: dict[str, str]
) -> None:
    arguments = ("--listen", "127.0.0.1:0", "--log-file", "decisions.log")
    with serving(tmp_path, *arguments, environment=without_extra) as process:
        async with dial(process.address) as channel:
            await call(channel, metadata=TRACED)
            await call(channel)
        assert await ended(process) == ""

    assert [line["trace_id"] for line in logged(tmp_path)] == [TRACE, ""]
