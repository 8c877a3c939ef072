"""PgBouncer before a server, in transaction mode: sessions of clients share connections."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.store.postgres.scratch import free_port, give_away, popen_options, scratch
from tests.store.postgres.server import HOST, SUPERUSER, PostgresServer, at_port

__all__ = ["SERVER_CONNECTIONS", "PgBouncer", "pgbouncer", "program"]

# How many connections to the server all clients of one database and role share.
SERVER_CONNECTIONS: Final = 3

_PATIENCE_S: Final = 10
# Debian installs it where only root looks.
_PATH: Final = "/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class PgBouncer:
    """A PgBouncer that runs before a server."""

    port: int

    def dsn(self, dsn: str) -> str:
        """The database at a URL of the server, reached through PgBouncer."""
        return at_port(dsn, self.port)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection to PgBouncer's own console: SHOW POOLS and the like."""
        url = f"postgresql://{SUPERUSER}@{HOST}:{self.port}/pgbouncer"
        return psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)


def program() -> str | None:
    """Where PgBouncer is on this machine; None where it is not."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_PATH)


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[PgBouncer]:
    """PgBouncer before all databases of a server, with its defaults but for the pool.

    Raises:
        RuntimeError: it did not start; with its log.
    """
    command = program()
    assert command is not None, "pgbouncer is not installed"
    with scratch("pgbouncer.pid") as directory:
        port = free_port()
        (directory / "users.txt").write_text(f'"{SUPERUSER}" ""\n', encoding="utf-8")
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(_configuration(directory, server.port, port), encoding="utf-8")
        give_away(directory)
        with (directory / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [command, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **popen_options(),
            )
        pooler = PgBouncer(port)
        try:
            _wait_until_ready(pooler, process, directory / "output.txt")
            yield pooler
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _configuration(directory: Path, server_port: int, port: int) -> str:
    return f"""
[databases]
* = host={HOST} port={server_port}

[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
auth_type = trust
auth_file = {directory / "users.txt"}
admin_users = {SUPERUSER}
pidfile = {directory / "pgbouncer.pid"}
"""


def _wait_until_ready(pooler: PgBouncer, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            pooler.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.005)
        else:
            return
    raise RuntimeError(f"PgBouncer did not start:\n{output.read_text(encoding='utf-8')}")
