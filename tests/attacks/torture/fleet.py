"""Sidecars as processes, which may be killed at any time and come back on their ports."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from grpc_health.v1 import health_pb2

from tests.attacks.torture.calls import dial
from tests.processes import ROOT, workers_of
from tests.sidecars import health
from tests.store.postgres.scratch import free_port

# How long a sidecar may take to end, in seconds; it gives up its callers and its store before that.
_DRAIN_S: Final = 60.0


class Sidecar:
    """A sidecar that runs in a directory of its own: one process, or a supervisor and workers."""

    def __init__(self, directory: Path, flags: Sequence[str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._directory = directory
        self._command = [
            sys.executable,
            str(ROOT / "server.py"),
            f"--listen={self.address}",
            "--log-file=decisions.log",
            *flags,
        ]
        self._popen: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Starts it, on the same port as before; returns when it takes calls."""
        await asyncio.to_thread(self._start)

    def workers(self) -> list[int]:
        """The workers that run now; none if there is no supervisor."""
        assert self._popen is not None
        return sorted(workers_of(self._popen.pid))

    async def kill(self) -> None:
        """Kills it and all its workers."""
        assert self._popen is not None
        for pid in (self._popen.pid, *self.workers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._end()

    async def stop(self) -> None:
        """Drains and ends it, where it runs.

        Raises:
            subprocess.TimeoutExpired: it did not end, and was killed.
        """
        if self._popen is None:
            return
        self._popen.terminate()
        try:
            await self._end(_DRAIN_S)
        except subprocess.TimeoutExpired:
            await self.kill()
            raise

    def _start(self) -> None:
        with (self._directory / "stderr").open("a") as errors:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._directory,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, (self._directory / "stderr").read_text()
        assert json.loads(line)["addresses"] == [self.address]

    async def _end(self, patience_s: float | None = None) -> None:
        assert self._popen is not None
        await asyncio.to_thread(self._popen.communicate, timeout=patience_s)
        self._popen = None


class Fleet:
    """Sidecars on one store."""

    def __init__(self, sidecars: Sequence[Sidecar]) -> None:
        self._sidecars = sidecars

    @property
    def addresses(self) -> list[str]:
        return [each.address for each in self._sidecars]

    async def start(self) -> None:
        """Starts all of them at once."""
        async with asyncio.TaskGroup() as starting:
            for each in self._sidecars:
                starting.create_task(each.start())

    async def serving(self) -> None:
        """Returns once the store answers every sidecar."""
        for address in self.addresses:
            async with dial(address) as channel:
                # A first connection may fail; like any client it tries again.
                async for told in health(channel, "", wait_for_ready=True):
                    if told.status == health_pb2.HealthCheckResponse.SERVING:
                        break

    async def kill_one(self, chance: random.Random) -> None:
        """Kills a worker, which its supervisor starts again, or a sidecar, and starts it again.

        Of an only sidecar with workers one worker goes: clients have no other to go to.
        """
        sidecar = chance.choice(self._sidecars)
        workers = sidecar.workers()
        if workers and (len(self._sidecars) == 1 or chance.random() < 0.5):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
        else:
            await sidecar.kill()
            await sidecar.start()

    async def kill_all(self) -> None:
        """Kills all of them, and starts them again."""
        for each in self._sidecars:
            await each.kill()
        await self.start()

    async def stop(self) -> None:
        """Drains and ends all of them."""
        async with asyncio.TaskGroup() as stopping:
            for each in self._sidecars:
                stopping.create_task(each.stop())


@asynccontextmanager
async def fleet(sidecars: int, directory: Path, *flags: str) -> AsyncIterator[Fleet]:
    """Sidecars with the same flags, each in a directory of its own below `directory`."""
    homes = [directory / f"sidecar-{number}" for number in range(sidecars)]
    for home in homes:
        home.mkdir()
    started = Fleet([Sidecar(home, flags) for home in homes])
    try:
        await started.start()
        await started.serving()
        yield started
    finally:
        await started.stop()
