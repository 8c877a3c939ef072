"""The server under soak: all that it reads on disk, its signals, and its processes from outside."""

import asyncio
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc

from liquidation.auth.keys import ENTROPY_BYTES, KeyRing, Permission, keys_text, new_key
from tests.attacks.torture.fleet import Sidecar
from tests.certificates import LOCAL, Authority
from tests.service.metrics.scrapes import Scrape, scrape
from tests.store.postgres.scratch import free_port

_PERMISSIONS: Final = (
    Permission.CHECK,
    Permission.LIQUIDATIONS,
    Permission.CLAIMS,
    Permission.CLAIMS_FORCE,
)
_LOOK_S: Final = 0.05
# How long anything that is waited for may take: a start, a drain, or both.
_PATIENCE_S: Final = 60.0
_CHANNEL: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


async def until(true: Callable[[], bool], what: str, patience_s: float = _PATIENCE_S) -> None:
    """Returns once something is true.

    Raises:
        TimeoutError: it is not in time; the text says what.
    """
    try:
        async with asyncio.timeout(patience_s):
            while not true():
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise TimeoutError(f"not within {patience_s:.0f} s: {what}") from None


@dataclass(frozen=True)
class Resources:
    """What a process holds."""

    resident_mib: float
    own_mib: float  # without the pages of files, which others may share
    threads: int
    sockets: int
    other_descriptors: int

    @property
    def figures(self) -> dict[str, float]:
        """Each by its name."""
        return {
            "resident memory, MiB": self.resident_mib,
            "own memory, MiB": self.own_mib,
            "threads": self.threads,
            "sockets": self.sockets,
            "other descriptors": self.other_descriptors,
        }

    @classmethod
    def of(cls, pid: int) -> "Resources | None":
        """What the process holds now; None where it has ended."""
        try:
            process = Path(f"/proc/{pid}")
            memory = _kilobytes((process / "smaps_rollup").read_text())
            kinds = Counter(link.startswith("socket:") for link in _descriptors(pid).values())
            threads = sum(1 for _ in (process / "task").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return cls(
            memory["Rss"] / 1024, memory["Anonymous"] / 1024, threads, kinds[True], kinds[False]
        )


def _kilobytes(text: str) -> dict[str, int]:
    lines = (line.partition(":") for line in text.splitlines() if line.endswith(" kB"))
    return {name: int(value.removesuffix(" kB")) for name, _, value in lines}


def _descriptors(pid: int) -> dict[str, str]:
    """What each descriptor of a process leads to."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed a moment ago
            found[entry.name] = str(entry.readlink())
    return found


class Server(Sidecar):
    """A supervisor and its workers, with TLS, API keys, rules, metrics, and a log that is moved."""

    def __init__(self, home: Path, *, workers: int, day_s: int, store: str) -> None:
        """`day_s` is how many seconds make a day, and ended claims are kept for one."""
        self._metrics = f"127.0.0.1:{free_port()}"
        flags = (
            f"--store={store}",
            f"--workers={workers}",
            f"--metrics-listen={self._metrics}",
            # A disk that others keep busy is none of a soak's findings.
            "--store-timeout=5",
            "--rules=rules.toml",
            "--api-keys=keys.json",
            "--tls-cert=server.pem",
            "--tls-key=server.key",
        )
        super().__init__(home, flags)
        self._command[1:2] = [str(Path(__file__).with_name("short_days.py")), str(day_s)]
        self._home = home
        self._workers = workers
        self._authority = Authority()
        self._ring = KeyRing()
        # What callers call with, and all that the file has. Each is there before it is called with,
        # and for a while after: not every worker reads the file at the same moment.
        self.key = ""
        self.keys: tuple[str, ...] = ()
        self._written = 0
        self._rotated = 0
        # Held while there is nobody who could be signalled.
        self.signals = asyncio.Lock()
        self.killed: set[int] = set()
        self.write_files()

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def processes(self) -> dict[int, str]:
        """What each process is, by its id."""
        return {self.pid: "supervisor"} | dict.fromkeys(self.workers(), "worker")

    def dial(self) -> Any:
        """A channel with a connection of its own."""
        credentials = grpc.ssl_channel_credentials(self._authority.pem)
        return grpc.aio.secure_channel(self.address, credentials, options=_CHANNEL)

    async def scrape(self) -> Scrape:
        """What Prometheus would see now."""
        return await asyncio.to_thread(scrape, self._metrics)

    def write_files(self) -> None:
        """Writes rules, keys and certificate anew, sound and other than before."""
        self._written += 1
        rules = f'version = "soak-{self._written}"\n[claims]\nretention_days = 1\n'
        _replace(self._home / "rules.toml", rules)
        ring = KeyRing(self._ring.entries[-2:])
        entropy = secrets.token_bytes(ENTROPY_BYTES)
        name = f"caller-{self._written}"
        self._ring, key = new_key(ring, name, _PERMISSIONS, None, datetime.now(UTC), entropy)
        _replace(self._home / "keys.json", keys_text(self._ring))
        self.keys = (*self.keys[-2:], key)
        self.key = self.keys[-2:][0]
        self._authority.issue(*LOCAL).write(self._home / "server.pem", self._home / "server.key")

    async def reload(self) -> None:
        """Has all files read again that were written anew."""
        async with self.signals:
            self.write_files()
            os.kill(self.pid, signal.SIGHUP)

    async def rotate(self) -> Path:
        """Moves the log away, and returns it when nobody writes to it any more."""
        log = self._home / "decisions.log"
        self._rotated += 1
        moved = log.with_name(f"{log.name}.{self._rotated}")
        async with self.signals:
            log.rename(moved)
            os.kill(self.pid, signal.SIGHUP)
        await until(lambda: not self._opened(moved), f"all workers let go of {moved.name}")
        return moved

    def _opened(self, path: Path) -> bool:
        """Whether any worker has a file open."""
        if self._popen is None:
            return False
        for pid in self.workers():
            with suppress(FileNotFoundError, ProcessLookupError):
                if str(path) in _descriptors(pid).values():
                    return True
        return False

    async def replace(self) -> None:
        """Has all workers replaced one by one; returns when it is done."""
        before = set(self.workers())
        os.kill(self.pid, signal.SIGUSR2)
        await until(lambda: not before & set(self.workers()), "all workers are replaced")
        await self._all_up()

    async def kill_worker(self, pid: int) -> None:
        """Kills a worker; returns when another has taken its place."""
        self.killed.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: pid not in self.workers(), "a worker that was killed is gone")
        await self._all_up()

    async def stop_and_start(self) -> None:
        """Drains and ends it, and starts it again."""
        async with self.signals:
            await self.stop()
            await self.start()

    async def kill_and_start(self) -> None:
        """Kills all its processes at once, and starts it again."""
        async with self.signals:
            self.killed |= set(self.processes)
            await self.kill()
            await self.start()

    async def _all_up(self) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.workers()) != self._workers or not await self._answering():
                await asyncio.sleep(_LOOK_S)

    async def _answering(self) -> bool:
        """Whether all workers take calls: the supervisor asks them for their metrics."""
        up = (await self.scrape()).series("liquidation_worker_up")
        return sum(up.values()) == self._workers


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)


assert sys.platform == "linux", "what processes hold is read from /proc"
