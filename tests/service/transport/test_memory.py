"""What callers can make a server hold is bounded."""

import gc

import grpc
import pytest

from liquidation.transport.queue_call import QueueCall
from liquidation.transport.threads_call import ThreadCall
from tests.attacks.hostile.wire import CLOSED_WINDOW, Wire, call_headers, message, request
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, Sending, status, until

MIB = 1 << 20


def test_streams_that_wait_since_before_the_last_shed_are_ended(running: Running) -> None:
    sending = Sending(b"1")
    waiting = running.stream("Each")(iter(sending), timeout=PATIENCE_S)
    assert next(waiting) == b"1"
    subscribed = running.subscription()(b"", timeout=PATIENCE_S)
    running.held()
    assert running.server.shed() == 0
    assert running.server.shed() == 2
    for each in (waiting, subscribed):
        with pytest.raises(grpc.RpcError) as failed:
            next(each)
        assert status(failed.value) == (
            "RESOURCE_EXHAUSTED",
            "The server is short of memory; open another stream later.",
        )
    assert running.server.shed() == 0


def test_a_stream_that_goes_on_between_sheds_is_not_ended(running: Running) -> None:
    sending = Sending()
    answers = running.stream("Each")(iter(sending), timeout=PATIENCE_S)
    for number in (b"1", b"2", b"3"):
        sending.put(number)
        assert next(answers) == number
        assert running.server.shed() == 0


def test_a_call_that_its_handler_works_on_is_not_ended(running: Running) -> None:
    unary = running.unary("Wait").future(b"1", timeout=PATIENCE_S)
    stream = running.stream("EachWaits")(iter((b"1",)), timeout=PATIENCE_S)
    calls = [running.held(), running.held()]
    assert [running.server.shed() for _ in range(3)] == [0, 0, 0]
    for call in calls:
        call.resume()
    assert unary.result() == b"woken"
    assert list(stream) == [b"1"]


async def test_a_request_that_does_not_come_is_ended_by_the_second_shed(running: Running) -> None:
    wire = await Wire.open(running.address)
    await wire.send(request(1, call_headers("/echo/Echo")))
    await wire.body(1, message(b"half", announced=1000), end=False)
    shed = 0

    def all_shed() -> bool:
        nonlocal shed
        shed += running.server.shed()
        return shed == 1

    until(all_shed)
    await wire.until(1)
    assert (
        "RESOURCE_EXHAUSTED: The server is short of memory; send the request again later."
        in await wire.close()
    )


async def test_a_subscriber_who_does_not_read_is_shed(running: Running) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Subscribe"), message(b"")))
    call = running.held()
    call.send(bytes(MIB))
    call.send(bytes(MIB))
    assert [running.server.shed(), running.server.shed()] == [0, 1]
    assert running.echo.closed.get(timeout=PATIENCE_S) is call
    await wire.close()


async def test_answers_that_are_not_taken_are_bounded(serve: Serve) -> None:
    running = serve(max_untaken_bytes=2 * MIB)
    wires = []
    for _ in range(4):
        wires.append(await Wire.open(running.address, CLOSED_WINDOW))
        await wires[-1].send(request(1, call_headers("/echo/Hold"), message(b"")))
        assert running.held().reply(bytes(MIB // 2))
    taking = running.unary("Size")
    large = str(MIB // 2).encode()
    with pytest.raises(grpc.RpcError) as failed:
        taking(large, timeout=PATIENCE_S)
    assert status(failed.value) == ("RESOURCE_EXHAUSTED", "too much is not taken")
    # What is small is not counted.
    assert taking(b"1000", timeout=PATIENCE_S) == bytes(1000)
    for wire in wires:
        await wire.close()
    until(lambda: taking.future(large, timeout=PATIENCE_S).code() is grpc.StatusCode.OK)


async def test_messages_that_are_not_taken_are_bounded_too(serve: Serve) -> None:
    running = serve(max_untaken_bytes=2 * MIB)
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Subscribe"), message(b"")))
    call = running.held()
    assert [call.send(bytes(MIB)) for _ in range(3)] == [True, True, False]
    assert call.send(b"small")
    await wire.close()
    assert running.echo.closed.get(timeout=PATIENCE_S) is call

    def all_sent() -> bool:
        other = running.subscription()(b"", timeout=PATIENCE_S)
        sent = [running.held().send(bytes(MIB)) for _ in "a"]
        other.cancel()
        return all(sent)

    until(all_sent)


def test_nothing_of_a_call_stays_after_its_end(running: Running, kind: str) -> None:
    left = QueueCall | ThreadCall
    # grpcio's own server keeps the last call until another event comes.
    most = 0 if kind == "queue" else 1
    channel = running.channel()
    for _ in range(10):
        channel.unary_unary("/echo/Hold").future(b"", timeout=PATIENCE_S)
        answer = channel.unary_unary("/echo/Wait").future(b"1", timeout=PATIENCE_S)
        for _ in range(running.echo.held.qsize()):
            running.held().resume()
        answer.cancel()
        answers = channel.unary_stream("/echo/Subscribe")(b"", timeout=PATIENCE_S)
        answers.cancel()
        list(channel.stream_stream("/echo/Each")(iter((b"1",)), timeout=PATIENCE_S))
        channel.unary_unary("/echo/Echo")(b"", timeout=PATIENCE_S)
    del answer, answers

    def gone() -> bool:
        while not running.echo.held.empty():
            running.held().resume()
        while not running.echo.closed.empty():
            running.echo.closed.get()
        gc.collect()
        return len([each for each in gc.get_objects() if isinstance(each, left)]) <= most

    until(gone)
