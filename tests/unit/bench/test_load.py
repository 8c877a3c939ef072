"""The clients of the benchmarks: what they print is what happened."""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.builds import UnavailableError
from bench.load import Shape, framed, load, require_clients
from bench.scenarios import Scenario

GROUP = 8
ITEMS = 80


@pytest.fixture(autouse=True)
def clients() -> None:
    try:
        require_clients()
    except UnavailableError as error:
        pytest.skip(str(error))


class Answers(grpc.GenericRpcHandler):
    """Unary `refuse`, and streams that answer in groups, at once, or not to the end."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "/test/refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "/test/group": grpc.stream_stream_rpc_method_handler(self.group),
            "/test/echo": grpc.stream_stream_rpc_method_handler(self.echo),
            "/test/three": grpc.stream_stream_rpc_method_handler(self.three),
        }
        return handlers.get(details.method)

    def refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.seen.append(request)
        if request == b"no":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")
        return b""

    def group(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        while len(list(islice(requests, GROUP))) == GROUP:
            yield from [b""] * GROUP

    def echo(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    def three(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(3):
            yield next(requests)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def address(answers: Answers) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[answers])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def calling(path: str, message: Callable[[], bytes] = lambda: b"a", **how: Any) -> Scenario:
    return Scenario(path, message, lambda _: True, **how)


def test_a_message_is_framed_with_its_length() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"


def test_h2load_makes_as_many_calls_as_it_is_told(
    address: str, answers: Answers, tmp_path: Path
) -> None:
    done = load(address, calling("/test/refuse"), Shape(2, 4), 100, tmp_path)

    assert answers.seen == [b"a"] * 100
    assert done.calls == 100
    assert 0 < done.p50_us <= done.p99_us


def test_h2load_fails_when_a_call_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        load("127.0.0.1:1", calling("/test/refuse"), Shape(1, 1), 1, tmp_path)


def test_messages_that_differ_are_sent_once_each_and_in_order(
    address: str, answers: Answers, tmp_path: Path
) -> None:
    numbers = iter(range(20))
    scenario = calling("/test/refuse", lambda: str(next(numbers)).encode(), distinct=True)

    done = load(address, scenario, Shape(1, 1), 20, tmp_path)

    assert answers.seen == [str(number).encode() for number in range(20)]
    assert (done.calls, done.per_second > 0) == (20, True)


def test_a_status_that_is_not_the_expected_fails_the_round(address: str, tmp_path: Path) -> None:
    messages = cycle([b"yes", b"no", b"no"])
    scenario = calling("/test/refuse", lambda: next(messages), distinct=True, status=9)

    with pytest.raises(RuntimeError, match=r"codes \{'0': 2, '9': 4\}"):
        load(address, scenario, Shape(2, 1), 6, tmp_path)


def test_refused_calls_count_when_they_should_be_refused(address: str, tmp_path: Path) -> None:
    scenario = calling("/test/refuse", lambda: b"no", distinct=True, status=9)

    assert load(address, scenario, Shape(2, 2), 9, tmp_path).calls == 9


def test_a_stream_keeps_its_window_full_for_a_server_that_answers_late(
    address: str, tmp_path: Path
) -> None:
    scenario = calling("/test/group", window=GROUP)

    assert load(address, scenario, Shape(1, 1), ITEMS, tmp_path).calls == ITEMS


def test_streams_share_the_items(address: str, tmp_path: Path) -> None:
    assert (
        load(address, calling("/test/echo", window=3), Shape(2, 1), ITEMS, tmp_path).calls == ITEMS
    )


@pytest.mark.parametrize("window", [1, 64])
def test_items_beyond_the_flow_control_window_do_not_block_a_stream(
    window: int, address: str, tmp_path: Path
) -> None:
    scenario = calling("/test/echo", lambda: bytes(200_000), window=window)

    assert load(address, scenario, Shape(1, 1), 65, tmp_path).calls == 65


def test_items_that_a_stream_did_not_answer_count_with_its_status(
    address: str, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"'0': 3.*'8': 2"):
        load(address, calling("/test/three", window=5), Shape(1, 1), 5, tmp_path)


def test_a_client_that_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnavailableError, match=r"h2load.*nghttp2-client"):
        require_clients()
