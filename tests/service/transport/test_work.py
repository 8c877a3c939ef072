from tests.service.transport.echo import PATIENCE_S, Running, until


def test_others_are_answered_between_the_chunks_of_a_large_work(running: Running) -> None:
    endless = running.unary("Endless").future(b"", timeout=PATIENCE_S)
    running.held()
    small = running.unary("Echo")
    for _ in range(5):
        small(b"", timeout=PATIENCE_S)
    assert running.echo.order.count("echo") == 5
    assert "ended" not in running.echo.order
    endless.cancel()
    running.echo.at_end.set()
    until(lambda: running.echo.order[-1] == "ended")


def test_large_works_take_turns(running: Running) -> None:
    endless = running.unary("Endless").future(b"", timeout=PATIENCE_S)
    running.held()
    assert running.unary("Chunks")(b"5000", timeout=PATIENCE_S) == b"done"
    assert running.echo.order.count("chunk") == 5000
    # It is answered only if the other work goes on in between.
    assert running.unary("GivesWay")(b"", timeout=PATIENCE_S) == b"done"
    endless.cancel()
    running.echo.at_end.set()
    until(lambda: running.echo.order[-1] == "ended")


def test_work_waits_until_it_is_resumed_by_another_thread(running: Running) -> None:
    answer = running.unary("Wait").future(b"1", timeout=PATIENCE_S)
    call = running.held()
    assert running.unary("Echo")(b"", timeout=PATIENCE_S) == b""
    assert not answer.done()
    call.resume()
    assert answer.result() == b"woken"


def test_resume_before_the_wait_is_not_lost(running: Running) -> None:
    answer = running.unary("Wait").future(b"3", timeout=PATIENCE_S)
    call = running.held()
    for _ in range(3):
        call.resume()
    assert answer.result() == b"woken"


def test_each_wait_takes_a_resume_of_its_own(running: Running) -> None:
    answer = running.unary("Wait").future(b"2", timeout=PATIENCE_S)
    call = running.held()
    call.resume()
    assert running.unary("Echo")(b"", timeout=PATIENCE_S) == b""
    assert running.echo.order == ["echo"]
    call.resume()
    assert answer.result() == b"woken"


def test_many_works_are_resumed(running: Running) -> None:
    channel = running.channel()
    wait = channel.unary_unary("/echo/Wait")
    answers = [wait.future(b"2", timeout=PATIENCE_S) for _ in range(100)]
    calls = [running.held() for _ in answers]
    for call in calls * 2:
        call.resume()
    assert [each.result() for each in answers] == [b"woken"] * 100


def test_work_goes_on_to_its_end_though_its_caller_has_gone(running: Running) -> None:
    answer = running.unary("Wait").future(b"1", timeout=PATIENCE_S)
    call = running.held()
    answer.cancel()
    until(lambda: call.cancelled)
    call.resume()
    until(lambda: running.echo.order == ["woken, cancelled: True"])
