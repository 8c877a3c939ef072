import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from liquidation.transport import Call, Exchange, Unary
from tests.attacks.hostile.wire import CLOSED_WINDOW, Wire, call_headers, message, request
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, Sending, status, until


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


@pytest.mark.parametrize("method", ["Each", "EachWaits"])
def test_every_message_is_answered_in_its_order(running: Running, method: str) -> None:
    answers = running.stream(method)(iter(numbers(500)), timeout=PATIENCE_S)
    seen: list[bytes] = []
    while len(seen) < 500:
        if method == "EachWaits":
            running.held().resume()
            handed_over = running.echo.handed_over.get(timeout=PATIENCE_S)
            seen += [next(answers) for _ in range(handed_over)]
        else:
            seen.append(next(answers))
    assert seen == numbers(500)
    assert list(answers) == []


def test_a_stream_goes_to_and_fro(running: Running) -> None:
    sending = Sending()
    answers = running.stream("Each")(iter(sending), timeout=PATIENCE_S)
    for number in numbers(50):
        sending.put(number)
        assert next(answers) == number
    sending.end()
    assert list(answers) == []


def test_a_message_may_have_many_answers(running: Running) -> None:
    answers = running.stream("Many")(iter((b"70", b"0", b"3")), timeout=PATIENCE_S)
    assert list(answers) == [*numbers(70), *numbers(3)]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3_000_000])
def test_messages_of_any_size_come_back(running: Running, size: int) -> None:
    sent = [bytes(size), b"x" * size]
    assert list(running.stream("Each")(iter(sent), timeout=PATIENCE_S)) == sent


def test_a_stream_without_a_message_ends_well(running: Running) -> None:
    assert list(running.stream("Each")(iter(()), timeout=PATIENCE_S)) == []


def test_messages_that_come_while_work_waits_are_handed_over_together(running: Running) -> None:
    sending = Sending(*numbers(40))
    answers = running.stream("EachWaits")(iter(sending), timeout=PATIENCE_S)
    handed_over: list[int] = []
    while sum(handed_over) < 40:
        # Beyond 32 nothing is read ahead, whatever has been sent.
        handed_over.append(running.echo.handed_over.get(timeout=PATIENCE_S))
        running.held().resume()
    sending.end()
    assert list(answers) == numbers(40)
    assert max(handed_over) <= 32


def test_what_a_handler_of_a_stream_raises_ends_it_behind_its_answers(running: Running) -> None:
    answers = running.stream("EachFails")(iter((b"words", b"more")), timeout=PATIENCE_S)
    assert next(answers) == b"before"
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value) == ("INTERNAL", "The server failed to answer.")
    assert [str(each) for each in running.faults] == ["secret words /echo/EachFails"]


def test_a_stream_is_cancelled_while_it_is_idle_or_its_work_waits(running: Running) -> None:
    idle = running.stream("Each")(iter(Sending(b"1")), timeout=PATIENCE_S)
    assert next(idle) == b"1"
    idle.cancel()
    busy = running.stream("EachWaits")(iter(Sending(b"1")), timeout=PATIENCE_S)
    call = running.held()
    busy.cancel()
    until(lambda: call.cancelled)
    call.resume()
    assert list(running.stream("Each")(iter((b"next",)), timeout=PATIENCE_S)) == [b"next"]
    assert running.faults == []


def test_a_subscriber_is_sent_what_any_thread_sends(running: Running) -> None:
    answers = running.subscription()(b"", timeout=PATIENCE_S)
    call = running.held()
    for number in numbers(100):
        assert call.send(number)
    assert [next(answers) for _ in range(100)] == numbers(100)
    call.send(b"last")
    call.refuse(0, "")
    call.send(b"never")
    assert list(answers) == [b"last"]
    assert running.echo.closed.get(timeout=PATIENCE_S) is call


def test_a_subscription_is_ended_with_a_status_and_trailers(running: Running) -> None:
    answers = running.subscription()(b"", timeout=PATIENCE_S)
    running.held().refuse(14, "it ends", (("x-why", "so"),))
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value) == ("UNAVAILABLE", "it ends")
    call: Any = failed.value
    assert tuple(map(tuple, call.trailing_metadata())) == (("x-why", "so"),)


def test_a_status_that_cannot_be_sent_ends_the_stream_and_no_other(running: Running) -> None:
    answers = running.subscription()(b"", timeout=PATIENCE_S)
    call = running.held()
    call.send(b"1")
    assert next(answers) == b"1"
    call.refuse(0, "", (("Not A Key", "x"),))
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert running.echo.closed.get(timeout=PATIENCE_S) is call
    assert list(running.stream("Each")(iter((b"next",)), timeout=PATIENCE_S)) == [b"next"]


def test_a_subscription_that_is_cancelled_is_closed_once(running: Running) -> None:
    answers = running.subscription()(b"", timeout=PATIENCE_S)
    call = running.held()
    call.send(b"1")
    assert next(answers) == b"1"
    answers.cancel()
    assert running.echo.closed.get(timeout=PATIENCE_S) is call
    assert call.cancelled
    assert call.send(b"2")
    call.send_latest(b"3")
    call.refuse(0, "")
    assert running.echo.closed.empty()
    assert call.unsent == 0


def test_a_subscription_whose_handler_raises_is_ended(running: Running) -> None:
    answers = running.subscription("SubscribeFails")(b"words", timeout=PATIENCE_S)
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value)[0] == "INTERNAL"
    assert len(running.faults) == 1


def test_a_subscription_takes_one_message(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        list(running.stream("Subscribe")(iter(()), timeout=PATIENCE_S))
    assert status(failed.value)[0] == "UNIMPLEMENTED"


async def test_who_does_not_read_finds_the_latest_alone(running: Running) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Subscribe"), message(b"")))
    call = running.held()
    call.send(b"begun")
    until(lambda: call.unsent == 1)
    for number in numbers(100):
        call.send_latest(number)
    assert call.unsent <= 2
    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"
    await wire.close()
    assert running.echo.closed.get(timeout=PATIENCE_S) is call


async def test_who_does_not_read_is_ended_all_the_same(running: Running, kind: str) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Subscribe"), message(b"")))
    call = running.held()
    call.send(b"never read")
    call.refuse(8, "it does not read")
    await wire.until(1)
    got = await wire.close()
    # grpcio's own server can only cancel it.
    told = "RESOURCE_EXHAUSTED: it does not read" if kind == "queue" else "CANCELLED: CANCELLED"
    assert told in got


async def test_a_stream_whose_answers_are_not_read_is_not_read_on(running: Running) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Each")))
    for _ in range(200):
        await wire.body(1, message(b"x" * 1000), end=False)
    handed_over = 0

    def all_seen() -> Iterator[int]:
        while not running.echo.handed_over.empty():
            yield running.echo.handed_over.get()

    assert running.unary("Echo")(b"next", timeout=PATIENCE_S) == b"next"
    handed_over += sum(all_seen())
    # Those in the first hand-over, and what was read ahead before the first answer was begun.
    assert handed_over <= 65
    await wire.close()


async def test_a_stream_without_a_pause_holds_nobody_up(serve: Serve, kind: str) -> None:
    """A call whose bytes have arrived is handled before many more messages of a stream are."""
    at_work, arrived = threading.Event(), threading.Event()
    many, handled, before_call = 9000, 0, 0

    def each(call: Call, messages: Sequence[bytes]) -> None:
        nonlocal handled
        handled += len(messages)
        for each in messages:
            call.send(each)
        if handled > 1000:
            at_work.set()
            assert arrived.wait(PATIENCE_S)

    def echo(call: Call, message: bytes) -> None:
        nonlocal before_call
        before_call = handled
        call.reply(message)

    running = serve(handlers={"/echo/Each": Exchange(each), "/echo/Echo": Unary(echo)})
    stream, other = await Wire.open(running.address), await Wire.open(running.address)
    await other.begun()
    await stream.send(request(1, call_headers("/echo/Each")))
    await stream.body(1, message(b"x") * many, end=False)
    await asyncio.to_thread(at_work.wait, PATIENCE_S)
    await other.send(request(1, call_headers("/echo/Echo"), message(b"")))
    arrived.set()
    await other.until(1)
    assert 0 < before_call < (2000 if kind == "queue" else many)
    await stream.close()
    await other.close()
