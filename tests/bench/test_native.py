"""The bench's native programs: what they print is what has happened."""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest

from bench import native
from bench.processes import serving

GROUP = 8
ITEMS = 80


def program(name: Literal["server", "load"]) -> Path:
    path = native.built(name)
    if isinstance(path, str):
        pytest.skip(path)
    return path


class Answers(grpc.GenericRpcHandler):
    """Unary `refuse`, and streams that answer in groups, large, or not at all."""

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


def load(frames: Path, messages: list[bytes], *words: str) -> subprocess.CompletedProcess[str]:
    frames.write_bytes(b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages))
    address, method, *options = words
    command = [str(program("load")), address, method, str(frames), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("unix", [False, True])
def test_the_empty_server_answers_any_call_and_ends_when_told(unix: bool, tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/s" if unix else "127.0.0.1:0"
    with serving([str(program("server")), listen], {}, tmp_path / "stderr") as (_, address):
        with grpc.insecure_channel(address) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/any/Method")
            assert call(b"request", timeout=10) == b""
        options = ("--channels", "2", "--in-flight", "8", "--calls", "500")
        figures = told(load(tmp_path / "frames", [b"a"], address, "/any/Method", *options))
    assert figures["calls"] == 500
    assert figures["codes"] == {"0": 500}
    assert 0 < figures["p50_us"] <= figures["p99_us"]


def test_requests_go_in_turn_and_a_refused_call_counts_with_its_code(
    address: str, answers: Answers, tmp_path: Path
) -> None:
    messages = [b"yes", b"no", b"yes too"]
    figures = told(load(tmp_path / "frames", messages, address, "/test/refuse", "--calls", "7"))
    assert answers.seen == [*messages, *messages, b"yes"]
    assert figures["calls"] == 7
    assert figures["codes"] == {"0": 5, "9": 2}


def test_a_stream_keeps_its_window_full_for_a_server_that_answers_late(
    address: str, tmp_path: Path
) -> None:
    options = ("--channels", "2", "--calls", str(2 * ITEMS), "--stream", str(GROUP))
    figures = told(load(tmp_path / "frames", [b"a"], address, "/test/group", *options))
    assert figures["codes"] == {"0": 2 * ITEMS}


@pytest.mark.parametrize("window", ["1", "64"])
def test_items_beyond_what_flow_control_lets_through_do_not_lock_a_stream(
    window: str, address: str, tmp_path: Path
) -> None:
    options = ("--calls", "65", "--stream", window)
    large = [bytes(200_000)]
    figures = told(load(tmp_path / "frames", large, address, "/test/echo", *options))
    assert figures["codes"] == {"0": 65}


def test_items_that_a_stream_did_not_answer_count_with_its_code(
    address: str, tmp_path: Path
) -> None:
    options = ("--calls", "20", "--stream", "5")
    figures = told(load(tmp_path / "frames", [b"a"], address, "/test/three", *options))
    assert figures["calls"] == 3
    assert figures["codes"] == {"0": 3, "8": 17}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("unix:/nowhere/s", "/a/B"), "cannot connect to unix:/nowhere/s"),
        (("127.0.0.1:1", "/a/B", "--channels", "0"), "--channels needs a number"),
        (("127.0.0.1:1", "/a/B", "--twist", "1"), "unknown option --twist"),
    ],
)
def test_what_cannot_be_loaded_is_said_and_ends_with_one(
    words: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    done = load(tmp_path / "frames", [b"a"], *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr


def test_a_machine_without_a_compiler_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native, "_BUILT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.built("load") == "g++ is not installed"
