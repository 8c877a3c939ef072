"""A PostgreSQL server for tests that harm it."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.service.postgres_calls import PASSWORD
from tests.store.postgres.databases import Databases
from tests.store.postgres.server import PostgresServer, postgres

# Few enough that a test can take them all.
_CONNECTIONS = 20


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server of the file's own, which its tests harm; the next one finds it mended."""
    with postgres({"max_connections": str(_CONNECTIONS)}) as server:
        yield server


@pytest.fixture(scope="module")
def own_databases(own: PostgresServer) -> Databases:
    return Databases(own)


@pytest.fixture
def url(own_databases: Databases, own: PostgresServer) -> Iterator[str]:
    """A database of that server, reached with a password, which the server does not ask for."""
    with own_databases.lend() as dsn:
        yield dsn.replace("@", f":{PASSWORD}@")
        own.resume()
        with suppress(AssertionError):  # it runs
            own.start()
