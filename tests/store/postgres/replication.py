"""A primary and its synchronous standby, which takes over when the primary is gone."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.store.postgres.scratch import scratch
from tests.store.postgres.server import HOST, PID_FILE, SUPERUSER, PostgresServer, postgres

__all__ = ["Pair", "replicated"]

_NAME: Final = "standby"
_PATIENCE_S: Final = 30


@dataclass(frozen=True)
class Pair:
    """Two servers; what the first commits is on the second before the client hears of it."""

    primary: PostgresServer
    standby: PostgresServer

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The URL of a database on whichever of the two takes writes."""
        hosts = ",".join(f"{HOST}:{server.port}" for server in (self.primary, self.standby))
        return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write"

    def promote(self) -> None:
        """Makes the standby a primary; returns once it takes writes.

        The primary is to be dead: nothing keeps it from going on.
        """
        with self.standby.connect() as connection:
            promoted = connection.execute("SELECT pg_promote(true, %s)", (_PATIENCE_S,)).fetchone()
        assert promoted == (True,), self.standby.log[-4000:]


@contextmanager
def replicated(settings: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """A primary with a synchronous standby, both durable; gone after the block.

    Raises:
        PostgresNotFoundError: there is no PostgreSQL.
        RuntimeError: one of them did not start.
    """
    # Told on the command line and not in the data, which the standby gets a copy of: promoted, it
    # waits for no other.
    own = {**(settings or {}), "synchronous_standby_names": _NAME}
    with postgres(own, durable=True) as primary, _standby(primary, settings or {}) as standby:
        _wait_until_synchronous(primary)
        yield Pair(primary, standby)


@contextmanager
def _standby(primary: PostgresServer, settings: Mapping[str, str]) -> Iterator[PostgresServer]:
    with scratch(PID_FILE) as directory:
        primary.programs.run(
            "pg_basebackup",
            *("--pgdata", str(directory / "data"), "--dbname", primary.dsn()),
            *("--write-recovery-conf", "--create-slot", "--slot", _NAME),
            *("--checkpoint=fast", "--no-sync"),
        )
        own = {**settings, "fsync": "on", "cluster_name": _NAME}  # the name it reports itself by
        standby = PostgresServer(primary.programs, directory, own)
        try:
            yield standby.start()
        finally:
            standby.kill()


def _wait_until_synchronous(primary: PostgresServer) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    with primary.connect() as connection:
        while time.monotonic() < deadline:
            states = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
            if states == [("sync",)]:
                return
            time.sleep(0.005)
    raise RuntimeError(f"the standby does not follow:\n{primary.log[-4000:]}")
