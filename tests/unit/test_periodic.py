"""Actions that are run again and again."""

import threading
from queue import SimpleQueue

from liquidation.server.upkeep import Periodic

NEVER_S = 3600.0


def unexpected(error: Exception) -> None:
    raise AssertionError from error


def test_an_action_is_run_again_and_again_until_it_is_stopped() -> None:
    ran: SimpleQueue[str] = SimpleQueue()
    periodic = Periodic("test", 0.001, lambda: ran.put(threading.current_thread().name), unexpected)
    periodic.start()

    assert {ran.get(timeout=60) for _ in range(3)} == {"test"}
    periodic.stop()
    left = ran.qsize()

    assert "test" not in {thread.name for thread in threading.enumerate()}
    assert ran.qsize() == left


def test_what_an_action_raises_is_reported_and_it_is_run_again() -> None:
    faults: SimpleQueue[Exception] = SimpleQueue()
    periodic = Periodic("test", 0.001, lambda: 1 // 0, faults.put)
    periodic.start()

    assert {type(faults.get(timeout=60)) for _ in range(2)} == {ZeroDivisionError}
    periodic.stop()


def test_the_first_run_may_come_at_once() -> None:
    ran = threading.Event()
    periodic = Periodic("test", NEVER_S, ran.set, unexpected, at_once=True)
    periodic.start()

    assert ran.wait(60)
    periodic.stop()


def test_one_that_waits_for_its_next_run_is_stopped_without_it() -> None:
    ran = threading.Event()
    periodic = Periodic("test", NEVER_S, ran.set, unexpected)
    periodic.start()

    periodic.stop()

    assert not ran.is_set()


def test_an_action_that_hangs_does_not_hold_up_the_stop() -> None:
    begun, released = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        released.wait()

    periodic = Periodic("test", NEVER_S, hang, unexpected, at_once=True)
    periodic.start()
    assert begun.wait(60)

    periodic.stop()

    released.set()
