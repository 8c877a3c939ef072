"""A PostgreSQL server of a test's own, which it may stop, kill, pause and start again."""

import ctypes
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.store.postgres import family
from tests.store.postgres.binaries import Programs, find, version
from tests.store.postgres.scratch import free_port, popen_options, scratch

__all__ = ["HOST", "PID_FILE", "SUPERUSER", "PostgresServer", "at_port", "postgres", "started"]

HOST: Final = "127.0.0.1"
SUPERUSER: Final = "test_admin"
# Below the directory of a server; its server writes it.
PID_FILE: Final = "data/postmaster.pid"

_PATIENCE_S: Final = 30
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "16MB",
    # Below the data directory, where it goes with it also when the server is killed.
    "dynamic_shared_memory_type": "mmap",
    # Lost is what was not synced only where the machine stops, not where the server is killed.
    "fsync": "off",
}

# The versions that were started in this process, and where from.
started: Final[set[str]] = set()


class PostgresServer:
    """A server on a port of loopback, which it keeps over restarts.

    Everybody may connect, as `SUPERUSER` or as a role that the test creates, without a password.
    """

    def __init__(self, programs: Programs, directory: Path, settings: Mapping[str, str]) -> None:
        """For the data that is in `directory`/data; `start` runs it."""
        self.port = free_port()
        self.settings = {**_SETTINGS, "port": str(self.port), **settings}
        self.programs = programs
        self._data = directory / "data"
        self._log = directory / "server.log"
        self._pid_file = directory / PID_FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def log(self) -> str:
        """All that the server wrote to its log."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    @property
    def version(self) -> str:
        """The server's version, as "15.18"."""
        return version(self.programs.directory)

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The URL of a database."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the superuser, in autocommit mode."""
        return psycopg.connect(self.dsn(database), autocommit=True)

    def start(self, settings: Mapping[str, str] | None = None) -> Self:
        """Runs the server, and returns once it takes connections.

        `settings` are added to those that it has, for later starts too.

        Raises:
            RuntimeError: it did not start; with the end of its log.
        """
        assert self._process is None, "the server runs"
        self.settings |= settings or {}
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.programs.command("postgres", "-D", str(self._data), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for the tests
                **popen_options(),
            )
        self._wait_until_ready(self._process)
        started.add(f"PostgreSQL {self.version} ({self.programs.found})")
        return self

    def stop(self) -> None:
        """Stops it in order: what is under way is rolled back, sessions end. Else it is killed."""
        if (process := self._running()) is None:
            return
        self.resume()
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        self.kill()

    def kill(self) -> None:
        """Kills it and all its sessions with SIGKILL; the data stay as they are."""
        if (process := self._running()) is None:
            return
        family.kill(process.pid)
        process.wait()
        self._process = None
        self._paused = False
        self._forget()

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Starts it again on the same port and data, after a stop where it still runs."""
        self.stop()
        self.start(settings)

    def pause(self) -> None:
        """Freezes it: connections stay open, new ones are taken by the kernel, nothing answers."""
        process = self._running()
        assert process is not None, self.log[-4000:]
        family.freeze(process.pid)
        self._paused = True

    def resume(self) -> None:
        """Lets it go on after a pause; nothing happens where it was not paused."""
        if self._paused and (process := self._running()) is not None:
            family.thaw(process.pid)
        self._paused = False

    def create_database(self, name: str, template: str = "template1") -> str:
        """A new database; gives its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, if it is there, and ends the sessions in it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(name)))

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Looks where `pg_ctl` looks: the server tells its state on a line of its lock file."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._running() is not None and time.monotonic() < deadline:
            told = self._lock_lines()
            if len(told) > 7 and told[0] == str(process.pid) and told[7] in ("ready", "standby"):
                return
            time.sleep(0.005)
        self.kill()
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-4000:]}")

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            self._forget()
        return self._process

    def _forget(self) -> None:
        """Takes away what a killed server left: its lock file, and the memory that this names.

        The id in the lock file may become another server's; such a file would keep this one from
        starting. The memory would outlive the data.
        """
        told = self._lock_lines()
        if len(told) > 6:
            remove: Final = 0  # IPC_RMID
            ctypes.CDLL(None).shmctl(int(told[6].split()[1]), remove, None)
        self._pid_file.unlink(missing_ok=True)

    def _lock_lines(self) -> list[str]:
        try:
            text = self._pid_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.split("\n")]


@contextmanager
def postgres(
    settings: Mapping[str, str] | None = None,
    *,
    durable: bool = False,
    bin_dir: Path | None = None,
) -> Iterator[PostgresServer]:
    """A server with data of its own, both gone after the block.

    `settings` go to the server's command line. `durable` lets it sync what it commits to the disk,
    at the disk's price. `bin_dir` has its programs; without it `find` looks for them.

    Raises:
        PostgresNotFoundError: there is no PostgreSQL.
        RuntimeError: it did not start.
    """
    with scratch(PID_FILE) as directory:
        programs = Programs.within_reach(bin_dir or find(), directory)
        programs.run(
            "initdb",
            *("--pgdata", str(directory / "data"), "--username", SUPERUSER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        chosen = {"fsync": "on"} if durable else {}
        server = PostgresServer(programs, directory, {**chosen, **(settings or {})})
        try:
            yield server.start()
        finally:
            server.stop()


def at_port(dsn: str, port: int) -> str:
    """The same database reached by another port of loopback: a proxy's, a pooler's."""
    parts = urlsplit(dsn)
    assert parts.port is not None, "a URL of one host"
    head, _, _ = parts.netloc.rpartition(":")
    return parts._replace(netloc=f"{head}:{port}").geturl()
