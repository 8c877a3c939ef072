import threading
from typing import Any

import grpc
import pytest
from hyperframe.frame import RstStreamFrame

from tests.attacks.hostile.wire import BEGIN, Wire, call_headers, message, request
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, status, until

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 4 * MIB - 100])
def test_a_message_comes_back_whatever_its_size(running: Running, size: int) -> None:
    channel = running.channel(("grpc.max_receive_message_length", -1))
    sent = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert channel.unary_unary("/echo/Echo")(sent, timeout=PATIENCE_S) == sent


def test_a_message_over_the_limit_is_refused(serve: Serve) -> None:
    running = serve(options=(("grpc.max_receive_message_length", 1000),))
    assert running.unary("Echo")(bytes(1000), timeout=PATIENCE_S) == bytes(1000)
    with pytest.raises(grpc.RpcError) as failed:
        running.unary("Echo")(bytes(1001), timeout=PATIENCE_S)
    assert status(failed.value)[0] == "RESOURCE_EXHAUSTED"
    assert running.echo.order == ["echo"]


def test_metadata_and_trailers_go_both_ways(running: Running) -> None:
    metadata = (("x-text", "some text"), ("x-bytes-bin", bytes(range(256))))
    answer, call = running.unary("Echo").with_call(b"", metadata=metadata, timeout=PATIENCE_S)
    assert answer == b""
    assert tuple(map(tuple, call.trailing_metadata())) == metadata


def test_a_refusal_has_its_code_words_and_trailers(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.unary("Refuse")("9 it is not ready: ü".encode(), timeout=PATIENCE_S)
    assert status(failed.value) == ("FAILED_PRECONDITION", "it is not ready: ü")
    call: Any = failed.value
    assert tuple(map(tuple, call.trailing_metadata())) == (
        ("x-why", "asked"),
        ("x-why-bin", b"\0\xff"),
    )


def test_a_handler_knows_method_peer_and_deadline(running: Running) -> None:
    method, peer, left, cancelled = running.unary("Seen")(b"", timeout=500).decode().split()
    assert (method, cancelled) == ("/echo/Seen", "False")
    assert peer.startswith("ipv4:127.0.0.1:")
    assert 0 < float(left) < 510  # gRPC rounds a span up


def test_a_call_without_a_deadline_has_no_time_remaining(running: Running) -> None:
    assert running.unary("Seen")(b"").decode().split()[2] == "None"


def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.unary("Nothing")(b"", timeout=PATIENCE_S)
    assert status(failed.value) == ("UNIMPLEMENTED", "Method not found!")


def test_a_call_that_ends_without_its_message_is_told_so(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        list(running.stream("Echo")(iter(()), timeout=PATIENCE_S))
    assert status(failed.value) == (
        "UNIMPLEMENTED",
        "the method takes one request, none was sent",
    )


@pytest.mark.parametrize("method", ["Fail", "FailLater"])
def test_what_a_handler_raises_is_told_but_not_to_the_caller(running: Running, method: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.unary(method)(b"words", timeout=PATIENCE_S)
    assert status(failed.value) == ("INTERNAL", "The server failed to answer.")
    assert [str(each) for each in running.faults] == [f"secret words /echo/{method}"]
    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"


def test_an_answer_that_cannot_be_sent_ends_the_call_and_no_other(running: Running) -> None:
    with pytest.raises(grpc.RpcError):
        running.unary("BadTrailers")(b"", timeout=PATIENCE_S)
    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"


def test_a_call_is_answered_by_another_thread(running: Running) -> None:
    answer = running.unary("Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    assert call.reply(b"from here")
    assert answer.result() == b"from here"


def test_the_first_answer_is_the_one(running: Running) -> None:
    answer = running.unary("Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    call.refuse(10, "first")
    call.reply(b"second")
    call.refuse(5, "third")
    assert (answer.code().name, answer.details()) == ("ABORTED", "first")


def test_handlers_are_on_one_thread_at_a_time(running: Running) -> None:
    calls = [running.unary("Echo") for _ in range(4)]
    answers = [calls[number % 4].future(b"", timeout=PATIENCE_S) for number in range(200)]
    assert [each.result() for each in answers] == [b""] * 200
    assert running.echo.most_inside == 1


def test_a_compressed_message_is_read(running: Running) -> None:
    sent = bytes(100_000)
    answer = running.unary("Echo")(sent, compression=grpc.Compression.Gzip, timeout=PATIENCE_S)
    assert answer == sent


def test_a_cancelled_call_is_known_to_be_cancelled(running: Running) -> None:
    answer = running.unary("Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    assert not call.cancelled
    answer.cancel()
    until(lambda: call.cancelled)
    call.reply(b"too late")
    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"


def test_a_call_whose_deadline_has_passed_is_known_to_be_cancelled(running: Running) -> None:
    # A call that is cancelled on its way is never seen, as may be on a busy machine.
    for span_s in (0.1, 1, 10):
        answer = running.unary("Hold").future(b"", timeout=span_s)
        assert answer.code().name == "DEADLINE_EXCEEDED"
        if not running.echo.held.empty():
            break
    call = running.held()
    until(lambda: call.cancelled)
    assert call.time_remaining() == 0


def test_a_lost_connection_is_known(running: Running) -> None:
    channel = running.channel()
    answer = channel.unary_unary("/echo/Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    channel.close()
    until(lambda: call.cancelled)
    assert answer.code().name == "CANCELLED"


def test_a_call_may_be_cancelled_at_any_moment(running: Running) -> None:
    """Before it is taken up, with its handler, in its work, with its answer."""
    channel = running.channel()
    for method, sent in (("Echo", b""), ("Size", b"100000"), ("Chunks", b"3"), ("Fail", b"")):
        call = channel.unary_unary(f"/echo/{method}")
        for _ in range(20):
            call.future(sent, timeout=PATIENCE_S).cancel()
    assert channel.unary_unary("/echo/Echo")(b"next", timeout=PATIENCE_S) == b"next"


async def test_a_request_whose_end_is_kept_back_is_ended_after_a_while(serve: Serve) -> None:
    running = serve(max_call_s=0.2)
    wire = await Wire.open(running.address, BEGIN)
    await wire.send(request(1, call_headers("/echo/Echo")))
    await wire.body(1, message(b"half", announced=1000), end=False)
    await wire.until(1)
    assert "DEADLINE_EXCEEDED: The request did not come in time." in await wire.close()


async def test_a_request_whose_end_is_kept_back_is_ended_at_its_deadline(serve: Serve) -> None:
    running = serve()
    wire = await Wire.open(running.address, BEGIN)
    await wire.send(request(1, call_headers("/echo/Echo", grpc_timeout="100m")))
    await wire.body(1, message(b"half", announced=1000), end=False)
    await wire.until(1)
    got = await wire.close()
    assert any("DEADLINE_EXCEEDED" in each or "RST_STREAM" in each for each in got), got


async def test_a_flood_of_calls_taken_back_leaves_nothing_and_holds_nobody(
    running: Running,
) -> None:
    wire = await Wire.open(running.address, BEGIN)
    headers = call_headers("/echo/Echo")
    for stream in range(1, 1001, 2):
        await wire.send(request(stream, headers, message(b"x")), RstStreamFrame(stream, 8))
    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"
    await wire.close()
    assert running.faults == []


def test_an_answer_from_another_thread_meets_those_of_the_answering_one(running: Running) -> None:
    def answer() -> None:
        for _ in range(100):
            running.held().reply(b"held")

    thread = threading.Thread(target=answer)
    thread.start()
    channel = running.channel()
    hold, echo = channel.unary_unary("/echo/Hold"), channel.unary_unary("/echo/Echo")
    answers = [
        (hold if number % 2 else echo).future(b"echo", timeout=PATIENCE_S) for number in range(200)
    ]
    seen = [each.result() for each in answers]
    thread.join()
    assert seen == [b"echo", b"held"] * 100
