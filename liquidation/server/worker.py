"""A process that answers calls beside others, and how its supervisor has it."""

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final, Self

from liquidation.config.live import Configuration
from liquidation.config.settings import Settings
from liquidation.decisionlog.opening import LogbookError, WorkerInfo
from liquidation.metrics import MetricsError
from liquidation.server import serving
from liquidation.server.listeners import ListenError
from liquidation.server.signals import attending
from liquidation.server.upkeep import freeze_gc
from liquidation.store.base import StoreError

# A fresh interpreter for each worker: gRPC does not survive a fork.
SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is given: the two ends that it talks over, and the one that it listens to.

    It sends something over `ready` when it accepts calls, and says so in the log when the other end
    is closed. It drains when that of `lifeline` is.
    """

    settings: Settings
    configuration: Configuration
    place: WorkerInfo
    ready: Connection
    lifeline: Connection
    scraped: Connection


def work(task: Task) -> None:
    """One worker, in a process of its own, until it is told to end."""
    try:
        _work_until_told(task)
    except (ListenError, StoreError, LogbookError, MetricsError, serving.StartError) as error:
        say(f"worker {task.place.worker}: {error}")
        sys.exit(1)


def say(told: str) -> None:
    """Says something on standard error."""
    print(f"liquidation: {told}", file=sys.stderr, flush=True)


def _work_until_told(task: Task) -> None:
    with (
        # SIGUSR2 is its supervisor's, and means nothing to it.
        attending(serving.nothing_to_replace, task.lifeline) as attention,
        serving.sidecar(task.settings, task.configuration, task.place, task.scraped) as running,
    ):
        attention.heed_hang_ups(running.hang_up)
        freeze_gc()
        with suppress(BrokenPipeError):  # its supervisor ends
            task.ready.send(os.getpid())
        wait([task.ready])
        task.ready.close()
        running.tell("worker_serving")
        attention.ended.wait()


@dataclass(slots=True)
class WorkerProcess:
    """A worker process: it accepts calls once it is up.

    `ready` can be read when it has come up or ended before that. Over `scraping` it is asked for
    its metrics. `hang_ups` is how many SIGHUPs had come when it was started.
    """

    process: SpawnProcess
    ready: Connection
    scraping: Connection
    hang_ups: int
    is_up: bool = False

    @classmethod
    def start(
        cls,
        settings: Settings,
        configuration: Configuration,
        place: WorkerInfo,
        lifeline: Connection,
        hang_ups: int,
    ) -> Self:
        """Starts one, which drains when the other end of `lifeline` is closed."""
        ready, say_ready = SPAWN.Pipe()
        scraping, scraped = SPAWN.Pipe()
        task = Task(settings, configuration, place, say_ready, lifeline, scraped)
        process = SPAWN.Process(target=work, name=f"worker-{place.worker}", args=(task,))
        process.start()
        say_ready.close()
        scraped.close()
        return cls(process, ready, scraping, hang_ups)

    def comes_up(self) -> bool:
        """Whether it accepts calls; False if it has ended instead. To be asked once, of `ready`."""
        try:
            self.ready.recv()
        except EOFError:
            return False
        self.is_up = True
        return True

    def let_serve(self) -> None:
        """Lets one that is up say in the log that it serves."""
        if self.is_up:
            self.ready.close()

    def hang_up(self) -> None:
        """Hands SIGHUP on to one that is up; what starts reads everything anyway."""
        if self.is_up and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGHUP)

    def end(self) -> None:
        """Tells it to end. One that is up looks whether it is to once `ready` is closed."""
        self.process.terminate()
        self.ready.close()

    def join(self) -> None:
        """Returns when it has ended."""
        self.process.join()
        self.ready.close()
