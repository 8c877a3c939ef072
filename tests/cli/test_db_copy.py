"""`liquidation db copy`: a store moves from SQLite to PostgreSQL, and says so."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from liquidation.store.locations import open_store, parse_location
from tests.cli.commands import on_a_terminal, run, run_apart
from tests.cli.test_db_status import HOLDS, fill, status
from tests.cli.test_serve_check_postgres import execute, role, set_up, url_of
from tests.sidecars import running
from tests.store.postgres.pgbouncer import PgBouncer
from tests.store.postgres.server import PostgresServer
from tests.store.stores import AwaitedStore

ROWS = {"account": 4, "liquidation": 5, "claim": 4, "claim_event": 6}
NOTHING = dict.fromkeys(ROWS, 0)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A SQLite store that holds what `HOLDS` says, one lease of which ran out."""
    path = tmp_path / "store.db"
    fill(f"sqlite:{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE claim SET lease_end_us = 1 WHERE fencing_token = 4")
    return f"sqlite:{path}"


@pytest.fixture
def target(postgres_database: str) -> str:
    """A database with the tables, and with nothing in them."""
    set_up(postgres_database)
    return postgres_database


def copy(file: str, url: str, *more: str) -> Result:
    return run("db", "copy", "--from", file, "--to", url, *more)


def held(url: str) -> dict[str, int]:
    """How many rows there are in each table."""
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in ROWS)
    with psycopg.connect(url) as connection:
        return dict(connection.execute(counts.encode()).fetchall())


def test_all_is_moved_and_told(file: str, target: str) -> None:
    before = status(file)["holds"]

    result = copy(file, target, "--format", "json")

    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told.pop("seconds") >= 0
    assert told == {
        "from": file,
        "to": target,
        "rows": ROWS,
        "running_leases": 1,
        "overdue_leases": 1,
        "next_fencing_token": 5,
        "replaced_characters": 0,
        "warnings": [],
    }
    assert held(target) == ROWS
    after = status(target)["holds"]
    assert {name: after[name] for name in HOLDS} == {name: before[name] for name in HOLDS} == HOLDS


def test_people_are_told_what_to_do_next(file: str, target: str) -> None:
    with closing(sqlite3.connect(file.removeprefix("sqlite:"))) as connection, connection:
        connection.execute("UPDATE claim SET end_reason = char(0) WHERE fencing_token = 2")

    result = copy(file, target)

    told = " ".join(result.stdout.split())
    assert result.exit_code == 0
    for words in (
        f"{file} → {target}",
        "account 4 liquidation 5 claim 4 claim_event 6 in all 19",
        "leases 1 run on; 1 had run out",
        "next fencing token 5",
        "replaced 1 characters U+0000 by U+FFFD",
        "All is committed. Start the service on the database.",
        "is left as it was: start none on it any more.",
    ):
        assert words in told


async def test_on_a_terminal_the_way_is_shown_and_not_left_behind(file: str, target: str) -> None:
    code, screen = await on_a_terminal("db", "copy", "--from", file, "--to", target)

    assert code == 0
    assert "0 rows copied" in screen
    assert "All is committed." in screen


def test_a_second_time_the_target_is_not_empty(file: str, target: str) -> None:
    copy(file, target)

    result = copy(file, target)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {target}: the target is not empty: it holds accounts")
    assert held(target) == ROWS


async def test_a_service_that_runs_on_the_file_is_noticed(tmp_path: Path, target: str) -> None:
    async with running(tmp_path):
        path = tmp_path / "store.db"
        result = await run_apart("db", "copy", "--from", f"sqlite:{path}", "--to", target)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {path}: another program has it open: stop the service that uses it\n"
    )


async def test_a_service_works_on_what_was_moved(file: str, target: str) -> None:
    assert (await run_apart("db", "copy", "--from", file, "--to", target)).exit_code == 0

    store = AwaitedStore(open_store(parse_location(target), timeout_s=10, connections=1))
    try:
        assert await store.count_active() == 1
        assert await store.get(5) is None
    finally:
        await store.aclose()


def test_texts_are_moved_whatever_encoding_the_user_has(
    file: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(file.removeprefix("sqlite:"))) as connection, connection:
        connection.execute("UPDATE claim SET end_reason = '清算' WHERE fencing_token = 2")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")

    assert copy(file, target).exit_code == 0

    monkeypatch.delenv("PGCLIENTENCODING")
    with psycopg.connect(target) as database:
        reasons = database.execute("SELECT end_reason FROM claim WHERE fencing_token = 2")
        assert reasons.fetchall() == [("清算",)]


def test_it_works_through_a_pooler(file: str, pooler: PgBouncer, postgres_database: str) -> None:
    url = pooler.dsn(postgres_database)

    assert run("db", "migrate", "--store", url).exit_code == 0
    assert copy(file, url).exit_code == 0

    assert held(postgres_database) == ROWS


def test_a_role_that_does_not_own_the_tables_is_told(
    postgres_server: PostgresServer, target: str, file: str
) -> None:
    with role(target, dict.fromkeys((*ROWS, "liquidation_schema"), ("ALL",))) as name:
        result = copy(file, url_of(postgres_server, target, name))

    assert result.exit_code == 1
    assert "connect as the owner of the schema and its tables" in result.stderr
    assert held(target) == NOTHING


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_stops_it_leaves_the_target_as_it_was(
    file: str, target: str, sent: signal.Signals
) -> None:
    # It waits in the midst of the last table, until it is stopped.
    execute(
        target,
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$",
        "CREATE TRIGGER wait BEFORE INSERT ON claim_event FOR EACH ROW"
        " WHEN (NEW.event_id = 3) EXECUTE FUNCTION wait()",
    )
    with psycopg.connect(target, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7)")
        command = ("db", "copy", "--from", file, "--to", target)
        with subprocess.Popen(
            [sys.executable, "-m", "liquidation.cli", *command], stderr=subprocess.PIPE
        ) as copying:
            _wait_until(other, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            os.kill(copying.pid, sent)
            copying.wait()
            assert copying.stderr is not None
            errors = copying.stderr.read().decode()
    _wait_until_alone(target)

    assert copying.returncode == (1 if sent is signal.SIGINT else -sent)
    assert errors == ("\nAborted!\n" if sent is signal.SIGINT else "")
    assert held(target) == NOTHING


def _wait_until(connection: psycopg.Connection[Any], statement: str) -> None:
    ends = time.monotonic() + 30
    while connection.execute(statement.encode()).fetchone() is None:
        assert time.monotonic() < ends


def _wait_until_alone(url: str) -> None:
    """Until the server has noticed that the one that was killed is gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        _wait_until(
            connection,
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'liquidation db')",
        )


def test_the_variable_of_the_service_names_the_target_too(
    file: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIQUIDATION_STORE", target)

    assert run("db", "copy", "--from", file).exit_code == 0
    assert held(target) == ROWS


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("sqlite:a.db", "sqlite:b.db"),
        ("postgresql://me:S3cret@h/x", "postgresql://h/y"),
        ("sqlite:a.db", "postgresql://me:S3@cret@h/x"),
        ("a.db", "postgresql://h/x"),
    ],
)
def test_what_cannot_be_copied_or_copied_to_is_told(source: str, to: str) -> None:
    result = copy(source, to)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "cret" not in result.stderr


def test_no_password_is_shown(file: str, target: str) -> None:
    url = target.replace("test_admin@", "test_admin:S3cret@")

    for _ in range(2):
        assert "S3cret" not in copy(file, url).output
