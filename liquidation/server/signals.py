"""The signals of a process, as something that a thread can wait for."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Final

_END: Final = (signal.SIGTERM, signal.SIGINT)
_HEEDED: Final = (*_END, signal.SIGHUP, signal.SIGUSR2)
_MOST: Final = 256


class SignalPipe:
    """A descriptor that can be read when a signal has come; see `signal_pipe`."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is what can be read, without waiting, when a signal has come."""
        self.descriptor = descriptor

    def take(self) -> Sequence[int]:
        """The numbers of the signals that have come since, in their order; none if none has."""
        with suppress(BlockingIOError):
            return os.read(self.descriptor, _MOST)
        return ()

    @staticmethod
    def ends(number: int) -> bool:
        """Whether the process is told to end."""
        return number in _END


@contextmanager
def signal_pipe() -> Iterator[SignalPipe]:
    """Until the end of the block no signal ends the process; which have come is in the pipe.

    For the main thread. The numbers are written by the C handler, whichever thread has the signal
    and whatever the main thread does.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _leave_to_the_pipe) for number in _HEEDED}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield SignalPipe(read)
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _leave_to_the_pipe(_: int, __: object) -> None:
    """Does nothing: with a handler of Python's, its number is written to the pipe."""


class Attention:
    """What signals mean for a server, heeded on a thread of its own from its start to its end.

    Not on the main thread: that one waits for the drain, and a log that is moved away meanwhile is
    to be opened again.
    """

    def __init__(self, on_replace: Callable[[], object]) -> None:
        """`on_replace` is called at SIGUSR2."""
        self.ended = threading.Event()
        self._on_replace = on_replace
        self._lock = threading.Lock()
        self._on_hang_up: Callable[[], object] | None = None
        self._hung_up = False

    def heed_hang_ups(self, on_hang_up: Callable[[], object]) -> None:
        """Calls `on_hang_up` at each SIGHUP from now on, and at once if there was one before."""
        with self._lock:
            self._on_hang_up = on_hang_up
            missed = self._hung_up
        if missed:
            on_hang_up()

    def heed(self, number: int) -> None:
        """Does what a signal means."""
        if SignalPipe.ends(number):
            self.ended.set()
        elif number == signal.SIGUSR2:
            self._on_replace()
        elif number == signal.SIGHUP:
            with self._lock:
                self._hung_up = True
                on_hang_up = self._on_hang_up
            if on_hang_up is not None:
                on_hang_up()

    def run(self, pipe: SignalPipe, closed: Connection, lifeline: Connection | None) -> None:
        """Heeds signals until `closed` is; a `lifeline` that is closed means to end, too."""
        while True:
            watched: list[int | Connection] = [pipe.descriptor, closed]
            if lifeline is not None:
                watched.append(lifeline)
            ready = wait(watched)
            for number in pipe.take():
                self.heed(number)
            if closed in ready:
                return
            if lifeline in ready:
                lifeline = None
                self.ended.set()


@contextmanager
def attending(
    on_replace: Callable[[], object], lifeline: Connection | None = None
) -> Iterator[Attention]:
    """Heeds this process's signals while the block runs; for the main thread.

    `ended` is set at SIGTERM and SIGINT, and when the other end of `lifeline` is closed.
    """
    attention = Attention(on_replace)
    closed, closing = Pipe(duplex=False)
    with signal_pipe() as pipe, closed:
        thread = threading.Thread(
            target=attention.run, args=(pipe, closed, lifeline), name="signals", daemon=True
        )
        thread.start()
        try:
            yield attention
        finally:
            closing.close()
            thread.join()
