"""A worker process, as its supervisor sees it."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Self

from liquidation.config.live import Configuration
from liquidation.config.settings import Settings
from liquidation.decisionlog.opening import WorkerInfo
from liquidation.server.worker import SPAWN, Task, work

__all__ = ["WorkerProcess"]


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
