"""Several server processes on one port and one database, under one supervisor.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker that dies is started
again; SIGUSR2 replaces them one by one, each by one that takes calls before the other drains;
SIGTERM drains them all; a worker whose supervisor is gone drains by itself. A `unix:` address
cannot be shared like that: the first worker alone listens on it.
"""

import signal
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from liquidation.config import watched_file
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog.opening import WorkerInfo, log_turn
from liquidation.decisionlog.sink import FileLock
from liquidation.metrics import new_workers
from liquidation.server import serving
from liquidation.server.listeners import reserved
from liquidation.server.signals import SignalPipe, signal_pipe
from liquidation.server.upkeep import Periodic
from liquidation.server.worker import SPAWN, WorkerProcess, say

# How long to wait before a worker that did not start is started again, in seconds; doubled each
# time up to the longest.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
# How much longer than the time to drain a worker may take to end, in seconds, before it is killed.
_GRACE_S: Final = 15.0


class WorkerFailedError(Exception):
    """A worker could not start; it has said why on standard error."""


def supervise(settings: Settings, configuration: Configuration) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT, then drains them.

    Raises:
        ListenError: an address cannot be listened on.
        LogbookError: workers cannot take turns with their lines.
        MetricsError: the metrics cannot be served.
        WorkerFailedError: a worker did not start.
    """
    with (
        signal_pipe() as signals,
        serving.held(settings),
        reserved(settings.listen) as addresses,
        log_turn(settings.store) as turn,
    ):
        shared = replace(settings, listen=addresses)
        _Supervisor(shared, configuration, turn, signals).run()


@dataclass(slots=True)
class _Place:
    """One of the workers' places: who serves there, and who is being started to do so."""

    serving: WorkerProcess | None = None
    starting: WorkerProcess | None = None
    # When the next try to start one is due, after one that failed; on the monotonic clock.
    due_s: float | None = None
    pause_s: float = _FIRST_PAUSE_S


class _Supervisor:
    """Acts on one thing after the other: a signal, a worker that is up, a process that ended."""

    def __init__(
        self, settings: Settings, configuration: Configuration, turn: Path, signals: SignalPipe
    ) -> None:
        """`turn` is a file that stays for as long as workers are started."""
        self._settings = settings
        # Workers read the files for themselves. One that is started later begins with what was
        # valid last, so that a file that is invalid by then does not keep it from starting.
        self._live = LiveConfig(settings, configuration, _utc, lambda *_: None)
        self._log_turn = turn
        self._signals = signals
        self._metrics = None
        if settings.metrics_listen is not None:
            self._metrics = new_workers(settings.workers)
        self._ended = False
        # Workers hold the other end: when it closes, their supervisor is gone.
        self._lifeline, self._held = SPAWN.Pipe(duplex=False)
        self._running: list[WorkerProcess] = []
        self._hang_ups = 0
        self._places = [_Place() for _ in range(settings.workers)]
        self._all_up = False
        # A replacement of all: the places to come, the one whose turn it is, and who drains there.
        self._replacement_wanted = False
        self._to_replace: deque[int] = deque()
        self._replacing: int | None = None
        self._leaving: WorkerProcess | None = None

    def run(self) -> None:
        watches = [
            Periodic(f"watch-{each.name}", watched_file.POLL_S, each.poll, _say_fault)
            for each in self._live.files
        ]
        with ExitStack() as endpoint:
            try:
                for each in watches:
                    each.start()
                self._start_all()
                if not self._ended:
                    self._say_serving(endpoint)
                while not self._ended:
                    self._act()
            finally:
                for each in watches:
                    each.stop()
                self._drain()

    def _start_all(self) -> None:
        """Starts the workers, each when the one before is up.

        Raises:
            WorkerFailedError: one ended before that.
        """
        for index, place in enumerate(self._places):
            if self._ended:
                return
            self._start(index)
            while place.starting is not None and not self._ended:
                self._act()
        self._all_up = True

    def _say_serving(self, endpoint: ExitStack) -> None:
        metrics = None
        if self._metrics is not None and self._settings.metrics_listen is not None:
            served = self._metrics.serve(self._settings.metrics_listen)
            endpoint.callback(served.close)
            metrics = served.address
        version = self._live.policy().version
        facts = serving.serving_facts(self._settings, version, self._settings.listen, metrics)
        # The one serving line comes before all that the workers have to say.
        with closing(FileLock(self._log_turn)) as turns, turns.taken():
            serving.print_serving(facts)
        for worker in self._running:
            worker.let_serve()

    def _act(self) -> None:
        starting = [each.starting.ready for each in self._places if each.starting is not None]
        running = [each.process.sentinel for each in self._running if each.is_up]
        ready = wait([self._signals.descriptor, *starting, *running], self._time_left())
        if self._signals.descriptor in ready:
            self._heed_signals()
        for index, place in enumerate(self._places):
            if place.starting is not None and place.starting.ready in ready:
                self._started(index)
        for worker in tuple(self._running):
            if worker.process.sentinel in ready:
                self._died(worker)
        for index, place in enumerate(self._places):
            if place.due_s is not None and time.monotonic() >= place.due_s:
                self._start(index)
        self._go_on_replacing()

    def _time_left(self) -> float | None:
        """Seconds until a worker that failed is to be started again; None if none is."""
        due = [place.due_s for place in self._places if place.due_s is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _heed_signals(self) -> None:
        for number in self._signals.take():
            if SignalPipe.ends(number):
                self._ended = True
            elif number == signal.SIGHUP:
                self._hang_up()
            elif number == signal.SIGUSR2:
                self._replacement_wanted = True

    def _start(self, index: int) -> None:
        """Starts a worker in a place; what comes of it is told by its `ready`."""
        worker = WorkerProcess.start(
            self._settings,
            self._live.configuration(),
            WorkerInfo(index, self._log_turn),
            self._lifeline,
            self._hang_ups,
        )
        self._running.append(worker)
        place = self._places[index]
        place.starting, place.due_s = worker, None

    def _started(self, index: int) -> None:
        """The worker that was being started in a place is up, or has ended."""
        place = self._places[index]
        worker, place.starting = place.starting, None
        assert worker is not None, "it was waited for"
        if not worker.comes_up():
            self._failed(index, worker)
            return
        if self._hang_ups != worker.hang_ups:
            # It may have opened the log before that was moved away.
            worker.hang_up()
        if self._metrics is not None:
            self._metrics.add(index, worker.scraping)
        before, place.serving, place.pause_s = place.serving, worker, _FIRST_PAUSE_S
        if self._all_up:
            worker.let_serve()
        if before is not None:
            before.end()
            self._leaving = before

    def _failed(self, index: int, worker: WorkerProcess) -> None:
        self._forget(worker)
        error = WorkerFailedError(f"worker {index} did not start")
        if not self._all_up:
            raise error
        if self._replacing == index:
            self._replacing = None
            self._to_replace.clear()
            say(f"{error}; the workers that are left go on as they are")
        place = self._places[index]
        if place.serving is None:
            place.due_s = time.monotonic() + place.pause_s
            place.pause_s = min(2 * place.pause_s, _LONGEST_PAUSE_S)

    def _died(self, worker: WorkerProcess) -> None:
        """A worker that was up has ended: it is started again, unless it was to end."""
        self._forget(worker)
        if worker is self._leaving:
            self._leaving = None
            return
        for index, place in enumerate(self._places):
            if place.serving is worker:
                place.serving = None
                say(f"worker {index} died ({worker.process.exitcode}); starting it again")
                # A successor that is just being started takes its place.
                if place.starting is None:
                    self._start(index)

    def _go_on_replacing(self) -> None:
        if self._leaving is not None or self._is_starting(self._replacing):
            return
        if self._replacing is not None:
            self._replacing = None
            if not self._to_replace:
                say("all workers are replaced")
        if self._replacement_wanted and self._all_up and not self._to_replace:
            self._replacement_wanted = False
            self._to_replace.extend(range(len(self._places)))
        if self._to_replace and not self._is_starting(self._to_replace[0]):
            self._replacing = self._to_replace.popleft()
            self._start(self._replacing)

    def _is_starting(self, index: int | None) -> bool:
        return index is not None and self._places[index].starting is not None

    def _hang_up(self) -> None:
        """Hands SIGHUP on: every worker opens its log file and reads all other files again.

        So do one that drains, which goes on to log, and one that is just being started.
        """
        self._live.reload()
        self._hang_ups += 1
        for worker in self._running:
            worker.hang_up()

    def _forget(self, worker: WorkerProcess) -> None:
        worker.join()
        self._running.remove(worker)

    def _drain(self) -> None:
        for worker in self._running:
            worker.end()
        end_s = time.monotonic() + self._settings.drain_time + _GRACE_S
        while self._running:
            if (left_s := end_s - time.monotonic()) <= 0:
                for worker in self._running:
                    worker.process.kill()
            sentinels = [worker.process.sentinel for worker in self._running]
            ready = wait([self._signals.descriptor, *sentinels], left_s if left_s > 0 else None)
            if self._signals.descriptor in ready:
                self._heed_signals()
            for worker in tuple(self._running):
                if worker.process.sentinel in ready:
                    self._forget(worker)
        self._held.close()


def _say_fault(error: Exception) -> None:
    say(f"a file could not be looked at: {error!r}")


def _utc() -> datetime:
    return datetime.now(UTC)
