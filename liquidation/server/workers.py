"""Several server processes on one port and one database, under one supervisor.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker that dies is started
again; SIGUSR2 replaces them one by one, each by one that takes calls before the other drains;
SIGTERM drains them all; a worker whose supervisor is gone drains by itself. A `unix:` address
cannot be shared like that: the first worker alone listens on it.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import uvloop

from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.config.watched_file import watch
from liquidation.decisionlog.opening import LogbookError, WorkerInfo
from liquidation.decisionlog.pipe_lock import log_turn
from liquidation.decisionlog.sink import FileLock
from liquidation.metrics import MetricsError, new_workers
from liquidation.server import serving
from liquidation.server.gc_freeze import freeze_gc
from liquidation.server.listeners import ListenError, reserved
from liquidation.store.base import StoreError

__all__ = ["WorkerFailedError", "supervise"]

# A fresh interpreter for each worker: gRPC does not survive a fork.
_SPAWN: Final = multiprocessing.get_context("spawn")
# How long to wait before a worker that died at once is started again, in seconds; doubled each
# time up to the longest.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


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
        serving.held(settings),
        reserved(settings.listen) as addresses,
        log_turn(settings.store) as turn,
    ):
        shared = replace(settings, listen=addresses)
        asyncio.run(_Supervisor(shared, configuration, turn).run())


@dataclass(slots=True)
class _Worker:
    """A worker that accepts calls."""

    process: SpawnProcess
    # Closed when it is to tell in the log that it serves.
    ready: Connection


class _Supervisor:
    def __init__(self, settings: Settings, configuration: Configuration, turn: Path) -> None:
        """`turn` is a file that stays for as long as workers are started."""
        self._settings = settings
        # Workers read the files for themselves. One that is started later begins with what was
        # sound last, so that a file that is not sound by then does not keep it from starting.
        self._in_force = LiveConfig(settings, configuration, _utc, lambda *_: None)
        self._log_turn = turn
        self._metrics = None
        if settings.metrics_listen is not None:
            self._metrics = new_workers(settings.workers)
        self._ended = asyncio.Event()
        self._replacement_wanted = asyncio.Event()
        # Workers hold the other end: when it closes, their supervisor is gone.
        self._lifeline, self._held = _SPAWN.Pipe(duplex=False)
        # Every process that runs, and whether it heeds SIGHUP yet, which would end it before that.
        self._running: dict[SpawnProcess, bool] = {}
        self._hang_ups = 0
        # The one that serves in each place.
        self._workers: dict[int, _Worker] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}
        # Held while somebody starts a worker in a place: a restart and a replacement may meet.
        self._starting = [asyncio.Lock() for _ in range(settings.workers)]

    async def run(self) -> None:
        serving.end_on_signal(self._ended)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR2, self._replacement_wanted.set)
        beside = [
            asyncio.create_task(self._replace_when_wanted()),
            asyncio.create_task(watch(self._in_force.files, _tell_fault)),
        ]
        with ExitStack() as endpoint:
            try:
                for index in range(self._settings.workers):
                    self._workers[index] = await self._start(index)
                self._tell_serving(endpoint)
                for index in self._workers:
                    self._keep(index)
                await self._ended.wait()
            finally:
                for task in (*beside, *self._keepers.values()):
                    task.cancel()
                await self._drain()

    def _tell_serving(self, endpoint: ExitStack) -> None:
        metrics = None
        if self._metrics is not None and self._settings.metrics_listen is not None:
            served = self._metrics.serve(self._settings.metrics_listen)
            endpoint.callback(served.close)
            metrics = served.address
        version = self._in_force.policy().version
        facts = serving.serving_facts(self._settings, version, self._settings.listen, metrics)
        # The one serving line comes before all that the workers have to say.
        with closing(FileLock(self._log_turn)) as turns, turns.taken():
            serving.print_serving(facts)
        for worker in self._workers.values():
            worker.ready.close()

    async def _start(self, index: int) -> _Worker:
        """Starts a worker and returns when it accepts calls.

        Raises:
            WorkerFailedError: it ended before that.
        """
        ready, say_ready = _SPAWN.Pipe()
        scraping, scraped = _SPAWN.Pipe()
        task = _Task(
            self._settings,
            self._in_force.configuration(),
            WorkerInfo(index, self._log_turn),
            say_ready,
            self._lifeline,
            scraped,
        )
        process = _SPAWN.Process(target=_work, name=f"worker-{index}", args=(task,))
        hang_ups = self._hang_ups
        process.start()
        self._running[process] = False
        say_ready.close()
        scraped.close()
        try:
            await _readable(ready.fileno())
            ready.recv()
        except asyncio.CancelledError:
            # The worker looks whether it is to end only once this is closed.
            ready.close()
            raise
        except EOFError:
            ready.close()
            process.join()
            self._running.pop(process, None)
            raise WorkerFailedError(f"worker {index} did not start") from None
        self._running[process] = True
        if self._hang_ups != hang_ups:
            # It may have opened the log before that was moved away.
            _send_hang_up(process)
        if self._metrics is not None:
            self._metrics.add(index, scraping)
        return _Worker(process, ready)

    def _keep(self, index: int) -> None:
        """Sees to it that the worker in a place is started again whenever it dies."""
        self._keepers[index] = asyncio.create_task(self._restart_when_dead(index))

    async def _restart_when_dead(self, index: int) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            process = self._workers[index].process
            await _readable(process.sentinel)
            async with self._starting[index]:
                process.join()
                self._running.pop(process, None)
                _say(f"worker {index} died ({process.exitcode}); starting it again")
                try:
                    self._workers[index] = await self._start(index)
                except WorkerFailedError:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
                else:
                    self._workers[index].ready.close()
                    pause = _FIRST_PAUSE_S

    async def _replace_when_wanted(self) -> None:
        """Replaces all workers, one by one, each time that SIGUSR2 asks for it."""
        while True:
            await self._replacement_wanted.wait()
            self._replacement_wanted.clear()
            try:
                for index in range(self._settings.workers):
                    await self._replace(index)
            except WorkerFailedError as error:
                _say(f"{error}; the workers that are left go on as they are")
            else:
                _say("all workers are replaced")

    async def _replace(self, index: int) -> None:
        """Puts a fresh worker in a place, and drains the one that was there.

        Raises:
            WorkerFailedError: the fresh one did not start; the other goes on.
        """
        async with self._starting[index]:
            successor = await self._start(index)
            self._keepers[index].cancel()
            before, self._workers[index] = self._workers[index].process, successor
            self._keep(index)
        successor.ready.close()
        before.terminate()
        await asyncio.to_thread(before.join)
        self._running.pop(before, None)

    def _hang_up(self) -> None:
        """Hands SIGHUP on: every worker opens its log file and reads all other files again.

        So do one that drains, which goes on to log, and one that is just being started.
        """
        self._in_force.reload()
        self._hang_ups += 1
        for process, heeds in self._running.items():
            if heeds:
                _send_hang_up(process)

    async def _drain(self) -> None:
        running = tuple(self._running)
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.to_thread(process.join)
        self._held.close()


def _send_hang_up(process: SpawnProcess) -> None:
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGHUP)


def _say(told: str) -> None:
    print(f"liquidation: {told}", file=sys.stderr, flush=True)


def _tell_fault(error: Exception) -> None:
    _say(f"a file could not be looked at: {error!r}")


def _utc() -> datetime:
    return datetime.now(UTC)


async def _readable(descriptor: int) -> None:
    """Returns when `descriptor` can be read, or its other end is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker is given: the two ends that it talks over, and the one that it listens to."""

    settings: Settings
    configuration: Configuration
    place: WorkerInfo
    ready: Connection
    lifeline: Connection
    scraped: Connection


def _work(task: _Task) -> None:
    """One worker, in a process of its own."""
    try:
        uvloop.run(_work_until_told(task))
    except (ListenError, StoreError, LogbookError, MetricsError, serving.StartError) as error:
        _say(f"worker {task.place.worker}: {error}")
        sys.exit(1)


async def _work_until_told(task: _Task) -> None:
    ended = asyncio.Event()
    serving.end_on_signal(ended)
    loop = asyncio.get_running_loop()
    loop.add_reader(task.lifeline.fileno(), ended.set)
    place, scraped = task.place, task.scraped
    async with serving.sidecar(task.settings, task.configuration, place, scraped) as running:
        freeze_gc()
        task.ready.send(os.getpid())
        await _readable(task.ready.fileno())
        task.ready.close()
        running.tell("worker_serving")
        await ended.wait()
        loop.remove_reader(task.lifeline.fileno())
