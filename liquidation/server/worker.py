"""One of several server processes, as its supervisor starts it."""

import multiprocessing
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Final

from liquidation.config.live import Configuration
from liquidation.config.settings import Settings
from liquidation.decisionlog.opening import LogbookError, WorkerInfo
from liquidation.metrics import MetricsError
from liquidation.server import serving
from liquidation.server.gc_freeze import freeze_gc
from liquidation.server.listeners import ListenError
from liquidation.server.signals import attending
from liquidation.store.base import StoreError

__all__ = ["SPAWN", "Task", "say", "work"]

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
