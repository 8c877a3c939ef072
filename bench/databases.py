"""Empty stores for the servers: a file each, or a schema of PostgreSQL each."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.builds import UnavailableError

__all__ = ["Databases", "require_postgres", "started"]

# PostgreSQL's own default; the tests' is small.
_SETTINGS: Final = {"shared_buffers": "128MB"}


@dataclass(frozen=True)
class Databases:
    """PostgreSQL servers that sync every commit to the disk, by the name of the engine."""

    urls: Mapping[str, str]

    def store(self, engine: str, directory: Path, name: str) -> str:
        """An empty store, as `--store` takes it: SQLite in `directory`, or a schema `name`."""
        if engine == "sqlite":
            return f"sqlite:{directory}/store.db"
        import psycopg  # noqa: PLC0415 - it needs an extra

        schema = name.replace(" ", "_").replace(",", "").lower()
        with psycopg.connect(self.urls[engine], autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
        return f"{self.urls[engine]}?options=-csearch_path%3D{schema}"


def require_postgres() -> None:
    """Returns when there is a PostgreSQL to start.

    Raises:
        UnavailableError: there is none.
    """
    try:
        from tests.store.postgres.binaries import PostgresNotFoundError, find  # noqa: PLC0415
    except ImportError as error:  # the driver needs an extra
        raise UnavailableError(f"{error.name} is not installed") from error
    try:
        find()
    except PostgresNotFoundError as error:
        raise UnavailableError(str(error)) from error


@contextmanager
def started(engines: set[str]) -> Iterator[Databases]:
    """Starts what `engines` need: "postgres" stands alone, "pair" has a synchronous standby.

    Raises:
        UnavailableError: there is no PostgreSQL.
    """
    urls: dict[str, str] = {}
    with ExitStack() as stack:
        if engines - {"sqlite"}:
            require_postgres()
            from tests.store.postgres.replication import replicated  # noqa: PLC0415 - as below
            from tests.store.postgres.server import postgres  # noqa: PLC0415

            if "postgres" in engines:
                server = stack.enter_context(postgres(_SETTINGS, durable=True))
                urls["postgres"] = server.dsn()
            if "pair" in engines:
                urls["pair"] = stack.enter_context(replicated(_SETTINGS)).primary.dsn()
        yield Databases(urls)
