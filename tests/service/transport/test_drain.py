"""The end of a server: what is in progress may end, and nobody can hold it up."""

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from liquidation.transport.base import MOST_MESSAGES
from tests.attacks.hostile.wire import CLOSED_WINDOW, Wire, call_headers, message, request
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, Sending, plain, status, until


def longer(seen: list[str], than: int) -> bool:
    return len(seen) > than


def drained(running: Running, grace_s: float = PATIENCE_S) -> threading.Thread:
    """A thread that drains the server."""
    thread = threading.Thread(target=running.server.drain, args=(grace_s,))
    thread.start()
    return thread


def test_an_idle_server_drains_without_its_grace(running: Running) -> None:
    running.server.drain(10 * PATIENCE_S)
    with pytest.raises(grpc.RpcError) as failed:
        running.unary("Echo")(b"", timeout=PATIENCE_S)
    assert status(failed.value)[0] == "UNAVAILABLE"


def test_a_call_in_progress_is_answered(running: Running) -> None:
    answer = running.unary("Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    draining = drained(running)
    assert not answer.done()
    call.reply(b"at the end")
    assert answer.result() == b"at the end"
    draining.join()


def test_work_goes_on_and_is_answered(running: Running) -> None:
    answer = running.unary("Wait").future(b"1", timeout=PATIENCE_S)
    call = running.held()
    draining = drained(running)
    call.resume()
    assert answer.result() == b"woken"
    draining.join()


def test_what_does_not_end_is_cancelled_after_the_grace(running: Running) -> None:
    answer = running.unary("Hold").future(b"", timeout=PATIENCE_S)
    call = running.held()
    running.server.drain(0.1)
    assert answer.code().name in ("CANCELLED", "UNAVAILABLE")
    until(lambda: call.cancelled)
    call.reply(b"too late")


def test_a_stream_that_waits_for_its_caller_is_ended_at_once(running: Running) -> None:
    answers = running.stream("Each")(iter(Sending(b"1")), timeout=PATIENCE_S)
    assert next(answers) == b"1"
    running.server.drain(10 * PATIENCE_S)
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value) == ("UNAVAILABLE", "The server ends; open another stream.")


def test_a_stream_is_ended_behind_the_messages_in_hand(running: Running) -> None:
    answers = running.stream("EachWaits")(iter(Sending(b"1")), timeout=PATIENCE_S)
    call = running.held()
    draining = drained(running)
    call.resume()
    assert next(answers) == b"1"
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value) == ("UNAVAILABLE", "The server ends; open another stream.")
    draining.join()


def test_a_stream_is_read_no_further_once_the_server_drains(running: Running) -> None:
    sending, idle = Sending(b"1"), running.stream("Each")(iter(Sending(b"1")), timeout=PATIENCE_S)
    assert next(idle) == b"1"
    answers = running.stream("EachWaits")(iter(sending), timeout=PATIENCE_S)
    call = running.held()
    sending.put(*[b"1"] * (10 * MOST_MESSAGES))
    until(sending.is_taken)
    draining = drained(running, 10 * PATIENCE_S)
    with pytest.raises(grpc.RpcError):
        next(idle)
    with ThreadPoolExecutor(1) as reading:
        answered = reading.submit(_until_refused, answers)
        call.resume()
        while not answered.done():
            until(lambda: answered.done() or not running.echo.held.empty())
            if not running.echo.held.empty():
                running.held().resume()

    seen, error = answered.result()
    assert status(error) == ("UNAVAILABLE", "The server ends; open another stream.")
    # The one in hand, those that were read ahead, and one that was on its way.
    assert 1 <= seen <= MOST_MESSAGES + 2
    draining.join()


def _until_refused(answers: Iterator[bytes]) -> tuple[int, grpc.RpcError]:
    """How many answers came, and what came in place of the next."""
    seen = 0
    try:
        for _ in answers:
            seen += 1
    except grpc.RpcError as error:
        return seen, error
    raise AssertionError("the stream ended without an error")


def test_a_subscription_is_ended_behind_what_it_was_sent(running: Running) -> None:
    answers = running.subscription()(b"", timeout=PATIENCE_S)
    call = running.held()
    call.send(b"last")
    running.server.drain(10 * PATIENCE_S)
    assert next(answers) == b"last"
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert status(failed.value) == ("UNAVAILABLE", "The server ends; open another stream.")
    assert running.echo.closed.get(timeout=PATIENCE_S) is call


async def test_a_subscriber_who_does_not_read_does_not_hold_up_the_end(running: Running) -> None:
    wire = await Wire.open(running.address, CLOSED_WINDOW)
    await wire.send(request(1, call_headers("/echo/Subscribe"), message(b"")))
    call = running.held()
    call.send(b"never read")
    draining = drained(running, 10 * PATIENCE_S)
    await wire.until(1)
    assert running.echo.closed.get(timeout=PATIENCE_S) is call
    await wire.close()
    draining.join(PATIENCE_S)
    assert not draining.is_alive()


async def test_a_request_that_does_not_come_is_cancelled_after_the_grace(running: Running) -> None:
    wire = await Wire.open(running.address)
    await wire.send(request(1, call_headers("/echo/Echo")))
    await wire.body(1, message(b"half", announced=1000), end=False)
    assert running.unary("Echo")(b"", timeout=PATIENCE_S) == b""
    running.server.drain(0.1)
    await wire.until(1)
    await wire.close()


def test_no_call_is_lost_when_servers_replace_each_other_under_load(serve: Serve) -> None:
    """Callers that wait for each answer see an answer, or UNAVAILABLE before anything was done."""
    options = (("grpc.so_reuseport", 1),)
    first = serve(options=options)
    ended = threading.Event()
    seen: list[str] = []

    def call_on() -> None:
        with plain(first.address) as channel:
            echo = channel.unary_unary("/echo/Echo")
            while not ended.is_set():
                try:
                    echo(b"", timeout=PATIENCE_S)
                    seen.append("answer")
                except grpc.RpcError as error:
                    seen.append(status(error)[0])

    with ThreadPoolExecutor(4) as callers:
        for _ in range(4):
            callers.submit(call_on)
        servers = [first]
        for _ in range(4):
            enough = len(seen) + 20
            until(functools.partial(longer, seen, enough))
            servers.append(serve(first.address, options=options))
            servers[-2].server.drain(PATIENCE_S)
        ended.set()
    assert set(seen) <= {"answer", "UNAVAILABLE"}
    assert seen.count("UNAVAILABLE") <= 8
    answered = sum(each.echo.order.count("echo") for each in servers)
    assert answered == seen.count("answer")
