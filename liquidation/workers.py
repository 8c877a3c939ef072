"""Several server processes on one port and one database, under one supervisor.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker that dies is started
again; SIGTERM drains them all; a worker whose supervisor is gone drains by itself. A `unix:`
address cannot be shared like that: the first worker alone listens on it.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

from liquidation import serving
from liquidation.core.policy import Policy
from liquidation.logs.sink import Turns
from liquidation.settings import Settings

__all__ = ["WorkerFailedError", "supervise"]

# A fresh interpreter for each worker: gRPC does not survive a fork.
_SPAWN: Final = multiprocessing.get_context("spawn")
# How long to wait before a worker that died at once is started again, in seconds; doubled each
# time up to the longest.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


class WorkerFailedError(Exception):
    """A worker could not start; it has said why on standard error."""


def supervise(settings: Settings, policy: Policy) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT, then drains them.

    Raises:
        ListenError: an address cannot be listened on.
        WorkerFailedError: a worker did not start.
    """
    with _reserved(settings.listen) as addresses:
        shared = replace(settings, listen=addresses)
        # Beside the database, where it stays for as long as workers are started.
        log_turn = settings.store.with_name(f"{settings.store.name}-log")
        asyncio.run(_Supervisor(shared, policy, log_turn).run())


class _Supervisor:
    def __init__(self, settings: Settings, policy: Policy, log_turn: Path) -> None:
        self._settings = settings
        self._policy = policy
        self._log_turn = log_turn
        self._ended = asyncio.Event()
        # Workers hold the other end: when it closes, their supervisor is gone.
        self._lifeline, self._held = _SPAWN.Pipe(duplex=False)
        self._processes: dict[int, SpawnProcess] = {}

    async def run(self) -> None:
        serving.end_on_signal(self._ended)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        keepers = []
        try:
            started = [await self._start(index) for index in range(self._settings.workers)]
            # The one serving line comes before all that the workers have to say.
            with closing(Turns(self._log_turn)) as turns, turns.taken():
                serving.print_serving(self._settings, self._policy, self._settings.listen)
            for ready in started:
                ready.close()
            keepers = [asyncio.create_task(self._keep(index)) for index in self._processes]
            await self._ended.wait()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await self._drain()

    async def _start(self, index: int) -> Connection:
        """Starts a worker and returns when it accepts calls.

        It says so in the log once the connection that is returned is closed.
        """
        ready, say_ready = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_work,
            name=f"worker-{index}",
            args=(self._settings, self._policy, index, self._log_turn, say_ready, self._lifeline),
        )
        process.start()
        say_ready.close()
        self._processes[index] = process
        await _readable(ready.fileno())
        try:
            ready.recv()
        except EOFError:
            ready.close()
            raise WorkerFailedError(f"worker {index} did not start") from None
        return ready

    async def _keep(self, index: int) -> None:
        """Starts a worker again whenever it dies."""
        pause = _FIRST_PAUSE_S
        while True:
            process = self._processes[index]
            await _readable(process.sentinel)
            process.join()
            print(
                f"liquidation: worker {index} died ({process.exitcode}); starting it again",
                file=sys.stderr,
                flush=True,
            )
            try:
                (await self._start(index)).close()
                pause = _FIRST_PAUSE_S
            except WorkerFailedError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _hang_up(self) -> None:
        """Hands SIGHUP on: every worker opens its log file again."""
        for process in self._processes.values():
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)

    async def _drain(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            await asyncio.to_thread(process.join)
        self._held.close()


async def _readable(descriptor: int) -> None:
    """Returns when `descriptor` can be read, or its other end is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _work(
    settings: Settings,
    policy: Policy,
    index: int,
    log_turn: Path,
    ready: Connection,
    lifeline: Connection,
) -> None:
    """One worker, in a process of its own."""
    try:
        asyncio.run(_work_until_told(settings, policy, index, log_turn, ready, lifeline))
    except (serving.ListenError, serving.StoreError, OSError) as error:
        print(f"liquidation: worker {index}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


async def _work_until_told(
    settings: Settings,
    policy: Policy,
    index: int,
    log_turn: Path,
    ready: Connection,
    lifeline: Connection,
) -> None:
    ended = asyncio.Event()
    serving.end_on_signal(ended)
    loop = asyncio.get_running_loop()
    loop.add_reader(lifeline.fileno(), ended.set)
    async with serving.sidecar(settings, policy, serving.Worker(index, log_turn)) as running:
        ready.send(os.getpid())
        await _readable(ready.fileno())
        ready.close()
        running.tell("worker_serving")
        await ended.wait()
        loop.remove_reader(lifeline.fileno())


@contextmanager
def _reserved(addresses: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The addresses with port 0 made a free one, held until the end of the block.

    A bound socket that does not listen takes no connections; it keeps the port for the workers,
    also while none of them runs.
    """
    with ExitStack() as held:
        yield tuple(_reserve(address, held) for address in addresses)


def _reserve(address: str, held: ExitStack) -> str:
    if address.startswith("unix:"):
        return address
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        # Without SO_REUSEPORT first: a port that others share would be shared with them unnoticed.
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            number = alone.getsockname()[1]
        shared = held.enter_context(socket.socket(family, kind, protocol))
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((where[0], number, *where[2:]))
    except OSError as error:
        raise serving.ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return f"{host}:{number}"
