"""`liquidation db migrate`: the schema is brought up, by whom may, once."""

import asyncio
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from liquidation.store.postgres.schema import LOCK_KEY, NEWEST
from liquidation.store.sqlite import schema
from liquidation.store.sqlite.connections import HostClock
from tests.cli.commands import run
from tests.cli.test_serve_check_postgres import execute, role, set_up, url_of
from tests.store.builders import snapshot
from tests.store.postgres.databases import Databases
from tests.store.postgres.server import PostgresServer
from tests.store.stores import sqlite_store

# Tables, columns, constraints and indexes, in the words of PostgreSQL.
CATALOGUE = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default,
           is_identity
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexdef, '', '', '', '', '' FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, pg_get_constraintdef(oid), '', '', '', '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    ORDER BY 1, 2
"""


def migrate(url: str, *more: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    result = run("db", "migrate", "--store", url, *more)
    return result.exit_code, result.stdout, result.stderr


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def versions(url: str) -> list[tuple[Any, ...]]:
    return rows(url, "SELECT version FROM liquidation_schema ORDER BY 1")


def test_what_is_done_is_told_and_done_again_there_is_nothing_to_do(
    postgres_database: str,
) -> None:
    status, output, _ = migrate(postgres_database)

    assert status == 0
    lines = output.splitlines()
    assert lines[:2] == ["version 1", "  CREATE TABLE account"]
    assert lines[-1] == f"{postgres_database}: the schema is at version {NEWEST}; it was at 0"
    assert versions(postgres_database) == [(each,) for each in range(1, NEWEST + 1)]
    held = rows(postgres_database, CATALOGUE)
    assert migrate(postgres_database) == (
        0,
        f"{postgres_database}: the schema is at version {NEWEST}; there was nothing to do\n",
        "",
    )
    assert rows(postgres_database, CATALOGUE) == held


def test_the_variable_of_the_service_names_the_store_too(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIQUIDATION_STORE", postgres_database)

    assert run("db", "migrate").exit_code == 0
    assert versions(postgres_database)


def test_several_may_do_it_at_once(postgres_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(migrate, [postgres_database] * 4))

    assert [(status, errors) for status, _, errors in outcomes] == [(0, "")] * 4
    assert versions(postgres_database) == [(each,) for each in range(1, NEWEST + 1)]


def test_a_dry_run_changes_nothing_and_prints_what_would_be_done(
    postgres_databases: Databases,
) -> None:
    with postgres_databases.lend() as by_hand, postgres_databases.lend() as by_itself:
        status, script, _ = migrate(by_hand, "--dry-run")
        assert (status, rows(by_hand, CATALOGUE)) == (0, [])

        execute(by_hand, script)
        migrate(by_itself)

        assert rows(by_hand, CATALOGUE) == rows(by_itself, CATALOGUE)
        assert versions(by_hand) == versions(by_itself)
        assert migrate(by_hand, "--dry-run") == (0, "-- No step is missing.\n", "")


def test_a_script_that_comes_too_late_changes_nothing(postgres_database: str) -> None:
    _, script, _ = migrate(postgres_database, "--dry-run")
    migrate(postgres_database)
    held = rows(postgres_database, CATALOGUE)

    with pytest.raises(psycopg.errors.DuplicateTable):
        execute(postgres_database, script)

    assert rows(postgres_database, CATALOGUE) == held


def test_a_script_that_is_not_run_to_its_end_changes_nothing(postgres_database: str) -> None:
    _, script, _ = migrate(postgres_database, "--dry-run")
    *statements, last, rest = script.split(";\n")
    assert (last.strip(), rest) == ("COMMIT", "")

    execute(postgres_database, *statements, "ROLLBACK")

    assert rows(postgres_database, CATALOGUE) == []


def test_a_script_waits_for_who_migrates_and_not_for_long(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquidation.store.postgres.schema.PATIENCE_S", 0.05)
    _, script, _ = migrate(postgres_database, "--dry-run")
    with psycopg.connect(postgres_database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))

        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(postgres_database, script)


def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.dsn("latin")
    made = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    execute(postgres_server.dsn(), made)
    try:
        outcomes = [
            run("db", "migrate", "--store", url),
            run("db", "migrate", "--store", url, "--dry-run"),
            run("db", "copy", "--from", f"sqlite:{tmp_path}/store.db", "--to", url),
            run("db", "status", "--store", url),
        ]
    finally:
        postgres_server.drop_database("latin")

    for each in outcomes:
        assert each.exit_code == 1
        assert "the encoding LATIN1, and must have UTF8" in each.output


def test_a_role_that_may_not_is_told_in_one_line(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    execute(postgres_database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with role(postgres_database) as name:
        url = url_of(postgres_server, postgres_database, name)

        status, output, errors = migrate(url)

    assert (status, output) == (1, "")
    why = "permission denied for schema public; connect as the owner of the schema and its tables"
    assert errors == f"Error: {url}: {why}\n"


def test_a_role_that_may_not_is_not_needed_where_there_is_nothing_to_do(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    execute(postgres_database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with role(postgres_database, {"liquidation_schema": ["SELECT"]}) as name:
        status, output, _ = migrate(url_of(postgres_server, postgres_database, name))

    assert (status, "nothing to do" in output) == (0, True)


@pytest.mark.parametrize(("oldest", "status"), [(NEWEST, 0), (NEWEST + 1, 1)])
def test_a_newer_schema_is_left_as_it_is(postgres_database: str, oldest: int, status: int) -> None:
    set_up(postgres_database)
    execute(
        postgres_database,
        f"INSERT INTO liquidation_schema (version, oldest_service) VALUES ({NEWEST + 1}, {oldest})",
    )

    for more in ((), ("--dry-run",)):
        ended, _, errors = migrate(postgres_database, *more)

        assert ended == status
        assert ("migrated by a newer version" in errors) is bool(status)


def test_a_lock_that_is_not_given_back_is_not_waited_for_long(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquidation.store.postgres.schema.PATIENCE_S", 0.05)
    with psycopg.connect(postgres_database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))

        status, _, errors = migrate(postgres_database)

    assert status == 1
    assert errors == f"Error: {postgres_database}: canceling statement due to lock timeout\n"


@pytest.mark.parametrize("command", ["migrate", "status"])
def test_a_server_that_is_not_there_is_told_in_one_line_without_the_password(
    command: str,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"postgresql://liquidation:S3cret@127.0.0.1:{port}/liquidation"

    result = run("db", command, "--store", url)

    assert (result.exit_code, result.stdout) == (1, "")
    place = f"postgresql://liquidation@127.0.0.1:{port}/liquidation"
    assert result.stderr.startswith(f"Error: {place}: connection failed: ")
    assert "Connection refused Is the server" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "S3cret" not in result.output


def test_what_is_said_is_not_shown_where_it_holds_the_password() -> None:
    url = "postgresql://liquidation:refused@127.0.0.1:1/liquidation"

    status, _, errors = migrate(url)

    assert status == 1
    assert "refused" not in errors


def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
        status, _, errors = migrate(url)

    assert status == 1
    assert "timeout expired" in errors


@pytest.mark.parametrize(
    "url", ["postgresql://me:S3@cret@host/x", "mysql:S3cret", "", "postgresql://h/x?S3cret=1"]
)
def test_a_place_that_is_none_is_told_and_not_repeated(url: str) -> None:
    result = run("db", "migrate", "--store", url)

    assert result.exit_code == (1 if url.endswith("S3cret=1") else 2)
    assert "cret" not in result.output


def test_a_file_is_brought_up_as_a_start_does_it(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as old:
        for statement in schema._STEPS[0]:
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
    name = f"sqlite:{path}"

    assert migrate(name, "--dry-run")[1].startswith(f"-- {name}: schema version 1.\n")
    assert migrate(name) == (0, f"{name}: the schema is at version 2; it was at 1\n", "")
    assert migrate(name)[1] == f"{name}: the schema is at version 2; there was nothing to do\n"


async def test_a_file_may_be_brought_up_while_a_service_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = sqlite_store(path, HostClock())
    try:
        await store.put([snapshot(1)])
        status, output, _ = await asyncio.to_thread(migrate, f"sqlite:{path}")
        assert (status, "nothing to do" in output) == (0, True)
        assert await store.get(1) == snapshot(1)
    finally:
        await store.aclose()


def test_a_file_that_a_newer_service_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA user_version = 99")

    for more in ((), ("--dry-run",)):
        status, output, errors = migrate(f"sqlite:{path}", *more)

        assert (status, output) == (1, "")
        assert errors.startswith(f"Error: sqlite:{path}: it has schema version 99")
