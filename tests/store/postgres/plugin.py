"""Fixtures with a PostgreSQL of the test run's own, and the word in its report on which one."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.store.postgres.binaries import PostgresNotFoundError, find, version
from tests.store.postgres.databases import Databases
from tests.store.postgres.pgbouncer import PgBouncer, pgbouncer, program
from tests.store.postgres.server import PostgresServer, postgres, started

# What the processes of pytest-xdist tell the one that reports.
_OUTPUT: Final = "postgres_started"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server that all tests of this process share: one that harms it starts its own."""
    try:
        bin_dir = find()
    except PostgresNotFoundError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    with postgres(bin_dir=bin_dir) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: PostgresServer) -> Databases:
    """Empty databases of the shared server."""
    return Databases(postgres_server)


@pytest.fixture
def postgres_database(postgres_databases: Databases) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with postgres_databases.lend() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before the shared server."""
    if program() is None:
        pytest.skip("it needs Debian's package pgbouncer")
    with pgbouncer(postgres_server) as pooler:
        yield pooler


def pytest_report_header() -> str:
    """The server that this run would start."""
    try:
        bin_dir = find()
    except PostgresNotFoundError as error:
        return str(error)
    return f"PostgreSQL {version(bin_dir)} ({bin_dir})"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist tells what it started."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = sorted(started)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a process of pytest-xdist told; nothing where it died."""
    started.update(getattr(node, "workeroutput", {}).get(_OUTPUT, ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which servers ran, also in a quiet run."""
    for line in sorted(started):
        terminalreporter.write_line(f"tested with {line}")
