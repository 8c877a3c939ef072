"""`liquidation db status` of a SQLite file: how it stands, and whether it will do."""

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from liquidation.store.records import moment
from liquidation.store.sqlite.connections import HostClock
from tests.cli.checking import contents
from tests.cli.commands import run
from tests.cli.test_db_status import HOLDS, drawn, fill, status

# A module that is None in here cannot be imported.
WITHOUT_DRIVER = "import sys; sys.modules['psycopg'] = None"
WITHOUT_EXTRAS = f"{WITHOUT_DRIVER}; sys.modules['rich'] = None"


def test_a_file_is_told_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    ended_us = fill(f"sqlite:{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE claim SET lease_end_us = 1 WHERE fencing_token = 4")
    before = contents(tmp_path)

    found, told = status(f"sqlite:{path}"), drawn(f"sqlite:{path}")

    assert found["works"]
    oldest = found["holds"].pop("oldest_end")
    assert found["holds"] == HOLDS
    assert datetime.fromisoformat(oldest) == moment(ended_us)
    assert found["schema"] == {"version": 2, "newest_known": 2}
    assert found["bytes"] == {"file": path.stat().st_size, "write_ahead_log": 0}
    assert "claims 1 active, 1 whose lease ran out" in told
    assert contents(tmp_path) == before


def test_a_file_in_use_is_told_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill(f"sqlite:{path}")
    with closing(sqlite3.connect(path)) as user:
        user.execute("UPDATE liquidation SET closed_us = 1 WHERE liquidation_id = 4")
        user.commit()

        found = status(f"sqlite:{path}")

    assert found["holds"]["closed_liquidations"] == 2
    assert found["bytes"]["write_ahead_log"] > 0


def test_a_file_that_is_not_there_yet_is_no_fault_where_it_can_be_made(tmp_path: Path) -> None:
    found = status(f"sqlite:{tmp_path}/none.db")
    assert (found["exists"], found["works"], found["next_start_migrates"]) == (False, True, True)
    assert contents(tmp_path) == {}

    found = status(f"sqlite:{tmp_path}/missing/none.db")
    assert found["problems"] == ["it is not there, and this user may not make it"]


def test_a_file_that_the_service_cannot_use_is_told(tmp_path: Path) -> None:
    newer, other = tmp_path / "newer.db", tmp_path / "text.db"
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    other.write_text("this is no database, and it is long enough to be looked at" * 100)

    assert "schema version 99" in status(f"sqlite:{newer}")["problems"][0]
    result = run("db", "status", "--store", f"sqlite:{other}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: sqlite:{other}: file is not a database\n"


def test_over_a_restart_of_the_host_leases_are_told_as_after_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    fill(f"sqlite:{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        now_us = HostClock().wall_us()
        connection.execute(
            "UPDATE claim SET lease_boot = 'another', lease_end_us = 1, expire_us = ?",
            (now_us + 60_000_000,),
        )
        connection.execute("UPDATE claim SET expire_us = ? WHERE fencing_token = 4", (now_us,))

    assert status(f"sqlite:{path}")["holds"]["active"] == 1
    assert status(f"sqlite:{path}")["holds"]["overdue"] == 1
