"""The throw-away server does what the tests that break it rely on."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.processes import ROOT
from tests.store.postgres import binaries
from tests.store.postgres.binaries import PostgresNotFoundError, Programs, carried, find, version
from tests.store.postgres.pgbouncer import SERVER_CONNECTIONS, PgBouncer
from tests.store.postgres.replication import replicated
from tests.store.postgres.scratch import scratch
from tests.store.postgres.server import HOST, PostgresServer, postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests of this file may harm; each leaves it running."""
    with postgres(durable=True) as server:
        yield server


def test_what_was_committed_survives_the_kill(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (2)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")
    server.start()
    with server.connect() as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
    assert "automatic recovery in progress" in server.log


def test_a_kill_leaves_no_process_and_no_shared_memory(server: PostgresServer) -> None:
    with server.connect() as connection:
        session = connection.info.backend_pid
        memory = server._lock_lines()[6].split()[1]
        assert memory in _shared_memory()
        server.kill()
    assert not _runs(session)
    assert memory not in _shared_memory()
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, server.port)) != 0
    server.start()


def test_it_starts_again_on_its_port_with_other_settings(server: PostgresServer) -> None:
    before = server.dsn()
    server.restart({"max_connections": "33"})
    with psycopg.connect(before) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("33",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_stop_ends_the_sessions(server: PostgresServer) -> None:
    with server.connect() as connection:
        server.stop()
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
    server.start()


def test_paused_it_takes_connections_and_says_nothing_until_it_goes_on(
    server: PostgresServer,
) -> None:
    with ThreadPoolExecutor() as threads, server.connect() as old:
        server.pause()
        asked, connecting = threads.submit(old.execute, "SELECT 1"), threads.submit(server.connect)
        silent = not wait([asked], 0.1).done and not connecting.done()
        server.resume()
        assert silent
        assert asked.result().fetchone() == (1,)
        connecting.result().close()


def test_it_is_killed_and_stopped_while_it_is_paused(server: PostgresServer) -> None:
    for end in (server.kill, server.stop):
        server.pause()
        end()
        server.start()
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_does_not_start_tells_why(server: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="requires a Boolean value"):
        server.restart({"fsync": "?"})
    server.start({"fsync": "on"})


def test_nothing_is_left_of_a_run_that_was_killed() -> None:
    program = (
        "import signal\n"
        "from tests.store.postgres.server import postgres\n"
        "with postgres() as server:\n"
        "    print(server.connect().execute('SHOW data_directory').fetchone()[0], flush=True)\n"
        "    signal.pause()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        data = Path(run.stdout.readline().strip())
        log = (data.parent / "server.log").open(encoding="utf-8")
        ended = os.pidfd_open(int((data / "postmaster.pid").read_text().splitlines()[0]))
        run.kill()
    assert select.select([ended], [], [], 30)[0] == [ended]
    os.close(ended)
    with log:
        assert "received immediate shutdown request" in log.read()
    _until_deleted(data.parent)


def test_the_environment_names_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.VARIABLE, str(carried()))
    assert find() == carried()


def test_where_the_machine_has_none_the_package_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(binaries.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_DEBIAN", tmp_path)
    assert find() == carried()
    others = carried().parents[1].glob("pginstall*/bin")
    majors = [int(version(place).partition(".")[0]) for place in others]
    assert version(carried()).startswith(f"{max(majors)}.")


def test_a_name_without_the_programs_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(binaries.VARIABLE, str(tmp_path))
    with pytest.raises(PostgresNotFoundError, match=binaries.VARIABLE):
        find()


def test_without_postgresql_anywhere_the_tests_fail_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(binaries.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_DEBIAN", tmp_path)
    monkeypatch.setattr(binaries, "_PACKAGE", "no_such_package")
    with pytest.raises(PostgresNotFoundError, match="install one"):
        find()


def test_what_the_package_carries_is_a_whole_server() -> None:
    with postgres(bin_dir=carried()) as server, server.connect() as connection:
        assert connection.info.parameter_status("server_version") == version(carried())
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a server as somebody else")
def test_programs_out_of_reach_are_copied(tmp_path: Path) -> None:
    package = carried().parents[1]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for each in (package, package.with_name(f"{package.name}.libs")):
        (private / each.name).symlink_to(each)
    bin_dir = private / carried().relative_to(package.parent)
    with pytest.raises(PermissionError):
        Programs(bin_dir, bin_dir).run("initdb", "--version")
    with scratch("no.pid") as directory:
        programs = Programs.within_reach(bin_dir, directory)
        programs.run("initdb", "--pgdata", str(directory / "data"), "--no-sync")
        assert programs.directory.is_relative_to(directory)
        assert programs.found == bin_dir


def test_the_standby_has_what_the_killed_primary_acknowledged() -> None:
    with replicated() as pair:
        dsn = pair.primary.create_database("kept")
        with psycopg.connect(pair.dsn("kept")) as connection:
            assert connection.info.port == pair.primary.port
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        _assert_waits_for(pair.standby, dsn)
        pair.primary.kill()
        pair.promote()
        with psycopg.connect(pair.dsn("kept")) as connection:
            assert connection.info.port == pair.standby.port
            assert connection.execute("SELECT number FROM kept").fetchall() == [(1,), (2,)]
            connection.execute("INSERT INTO kept VALUES (3)")


def test_clients_of_pgbouncer_share_a_connection(pooler: PgBouncer, postgres_database: str) -> None:
    dsn = pooler.dsn(postgres_database)
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        sessions = set()
        for client in (one, other, one):
            with client.transaction():
                sessions.add(client.execute("SELECT pg_backend_pid()").fetchone())
    assert len(sessions) == 1


def test_pgbouncer_has_no_more_connections_than_it_was_given(
    pooler: PgBouncer, postgres_database: str
) -> None:
    dsn = pooler.dsn(postgres_database)
    with ExitStack() as clients:
        busy = [
            clients.enter_context(psycopg.connect(dsn)).execute("SELECT 1").connection
            for _ in range(SERVER_CONNECTIONS)
        ]
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(_pinged, dsn)
            assert not wait([waiting], 0.1).done
            busy[0].rollback()
            waiting.result()


def _pinged(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")


def _assert_waits_for(standby: PostgresServer, dsn: str) -> None:
    """A commit at `dsn` waits for the standby, and is acknowledged once that is back."""

    def insert() -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute("INSERT INTO kept VALUES (2)")

    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with ThreadPoolExecutor() as threads, psycopg.connect(dsn, autocommit=True) as look:
        standby.pause()
        inserted = threads.submit(insert)
        while look.execute(waiting).fetchone() != (1,):
            assert not inserted.done()
        standby.resume()
        inserted.result()


def _shared_memory() -> set[str]:
    """The ids of the machine's System V shared memory."""
    rows = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    return {row.split()[1] for row in rows}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    )


def _until_deleted(directory: Path) -> None:
    while directory.exists():
        time.sleep(0.005)
