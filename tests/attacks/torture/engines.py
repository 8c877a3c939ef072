"""The engines under torture: what a store's engine adds to a run."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.store.postgres.server import PostgresServer, postgres

ENGINES: Final = ("sqlite", "postgres")

_DROP_INDEX: Final = "DROP INDEX claim_one_active_per_account"
_DATABASE: Final = "liquidation"


class Engine(Protocol):
    """The store that the sidecars of a run share."""

    @property
    def location(self) -> str:
        """What `--store` is told."""
        ...

    def drop_index(self) -> None:
        """Takes away the constraint that holds the promise of one active claim."""
        ...

    def kill(self) -> None:
        """Kills every process of the engine's own."""
        ...

    def start(self) -> None:
        """Starts it again after a kill."""
        ...


class _Sqlite:
    """A file; it has no process to kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.location = f"sqlite:{path}"

    def drop_index(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute(_DROP_INDEX)

    def kill(self) -> None:
        raise NotImplementedError("SQLite has no process of its own")

    def start(self) -> None:
        raise NotImplementedError("SQLite has no process of its own")


class _Postgres:
    """A database of a server that is the run's own."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.location = server.create_database(_DATABASE)

    def drop_index(self) -> None:
        with self._server.connect(_DATABASE) as connection:
            connection.execute(_DROP_INDEX)

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()


@contextmanager
def engine(name: str, directory: Path) -> Iterator[Engine]:
    """The engine of that name, with nothing in its store; gone after the block."""
    if name == "sqlite":
        yield _Sqlite(directory / "liquidation.db")
    else:
        with postgres(durable=True) as server:
            yield _Postgres(server)
            # Its data go with it: there is nothing to shut down in order.
            server.kill()
