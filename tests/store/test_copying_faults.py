"""What keeps a store from being moved: all of it is moved, or nothing."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from liquidation.store.copy import CopyError, InDoubtError, copy
from liquidation.store.sqlite.connections import HostClock
from liquidation.store.sqlite.schema import NEWEST
from liquidation.store.sqlite.source import InUseError, SourceError
from tests.clocks import Clock
from tests.store.moving import contents, fill, moved, moving_claim, trigger
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import at_port
from tests.store.stores import connected, sqlite_store


@pytest.fixture
def clock() -> Clock:
    """The clock of the file's host."""
    return Clock()


USER = """
import asyncio, sys
from pathlib import Path
from liquidation.store.sqlite.connections import HostClock
from tests.store.stores import sqlite_store
from tests.store.builders import begin, begin_request
from tests.store.builders import snapshot

async def use(path):
    store = sqlite_store(path, HostClock())
    await begin(store, begin_request("request-1", snapshot(1), lease_s=300))
    print("claimed", flush=True)
    await asyncio.Event().wait()

asyncio.run(use(Path(sys.argv[1])))
"""


def test_a_file_that_somebody_has_open_is_not_moved_until_they_are_gone(
    path: Path, target: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(path)], stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "claimed\n"
        try:
            with pytest.raises(
                InUseError,
                match=r"^.*: another program has it open: stop the service that uses it$",
            ):
                asyncio.run(moved(path, target, HostClock()))
        finally:
            user.kill()

    # What it wrote last is found in the write-ahead log that it left behind.
    copied = asyncio.run(moved(path, target, HostClock()))

    assert (copied.rows["claim"], copied.running) == (1, 1)


async def test_nobody_can_open_the_file_meanwhile(path: Path, target: str) -> None:
    class Intruder(Clock):
        """Is asked for the time while the file is read, and tries to open it then."""

        problem = ""

        def lease_us(self) -> int:
            with closing(sqlite3.connect(path, timeout=0)) as connection:
                try:
                    connection.execute("SELECT count(*) FROM claim")
                except sqlite3.OperationalError as error:
                    self.problem = str(error)
            return super().lease_us()

    async with sqlite_store(path, Clock()):
        pass
    intruder = Intruder()

    await moved(path, target, intruder)

    assert intruder.problem == "database is locked"


async def test_a_target_that_is_not_empty_is_left_as_it_is(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    await moved(path, target, clock)
    held = await contents(target)

    with pytest.raises(CopyError, match="not empty: it holds accounts, liquidations, claims"):
        await moved(path, target, clock)

    assert await contents(target) == held


async def test_a_target_without_tables_is_refused(
    path: Path, postgres_database: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock):
        pass

    with pytest.raises(CopyError, match=r"schema version 0.*liquidation db migrate"):
        await moved(path, postgres_database, clock)


@pytest.mark.parametrize(
    ("version", "what_to_do"),
    [(NEWEST - 1, ": run `liquidation db migrate` on it"), (NEWEST + 1, "")],
)
async def test_a_file_of_another_version_is_refused(
    path: Path, target: str, version: int, what_to_do: str
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")

    with pytest.raises(SourceError) as refused:
        await moved(path, target, Clock())

    assert str(refused.value) == (
        f"{path}: has schema version {version}, this service needs {NEWEST}{what_to_do}"
    )


def test_a_file_that_is_not_there_is_told_and_not_made(path: Path, target: str) -> None:
    with pytest.raises(SourceError, match="unable to open"):
        asyncio.run(moved(path, target, Clock()))

    assert not path.exists()


ADDED = """
    IF NEW.event_id = 12 THEN
        INSERT INTO claim_event VALUES (13, NEW.fencing_token, '', NEW.time, NEW.time, '', false);
    END IF; RETURN NEW
"""
# What the target does of its own with rows of a table, and what is told of it.
BROKEN = {
    "a text is another": ("claim_event", "NEW.reason := 'x'; RETURN NEW", "not what was copied: 1"),
    "a time is another": (
        "claim",
        "NEW.begin_time := NEW.begin_time + interval '1 microsecond'; RETURN NEW",
        "not what was copied: 1",
    ),
    "a record is another": (
        "liquidation",
        'NEW.snapshot := NEW.snapshot || \'{"revision": "9"}\'; RETURN NEW',
        "not what was copied: 1",
    ),
    "a row is left out": (
        "claim_event",
        "IF NEW.event_id = 3 THEN RETURN NULL; END IF; RETURN NEW",
        "not what was copied: 4",
    ),
    "the last row is left out": (
        "claim_event",
        "IF NEW.event_id = 12 THEN RETURN NULL; END IF; RETURN NEW",
        "was not copied: 12",
    ),
    "a row is added": ("claim_event", ADDED, "not what was copied: 13"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_what_does_not_arrive_as_it_was_is_noticed_and_nothing_stays(
    path: Path, target: str, clock: Clock, fault: str
) -> None:
    table, does, problem = BROKEN[fault]
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    await trigger(target, f"BEFORE INSERT ON {table}", does)
    empty = await contents(target)

    with pytest.raises(CopyError, match=f"a row of {table} (is )?{problem}"):
        await moved(path, target, clock)

    assert await contents(target) == empty


async def test_a_copy_that_fails_leaves_the_target_as_it_was(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    await trigger(target, "BEFORE INSERT ON claim_event", "RAISE 'no room'")
    empty = await contents(target)

    with pytest.raises(psycopg.Error, match="no room"):
        await moved(path, target, clock)

    assert await contents(target) == empty


async def test_a_commit_without_an_answer_is_told_as_in_doubt(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    port = psycopg.conninfo.conninfo_to_dict(target)["port"]
    async with (
        Proxy("127.0.0.1", int(str(port))) as proxy,
        connected(at_port(target, proxy.port)) as connection,
    ):
        proxy.lose_answer_to(b"COMMIT\x00")
        with pytest.raises(
            InDoubtError,
            match=r"^the connection broke at the commit: either all was copied, or nothing$",
        ):
            await copy(path, connection, clock)

    assert (await contents(target))["claim"]


async def test_a_connection_that_breaks_before_the_commit_leaves_nothing_in_doubt(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    does = "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW"
    await trigger(target, "BEFORE INSERT ON claim", does)
    empty = await contents(target)

    async with connected(target) as connection:
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            await copy(path, connection, clock)

    assert await contents(target) == empty


async def test_what_the_server_warns_of_is_told(path: Path, target: str, clock: Clock) -> None:
    async with sqlite_store(path, clock) as store:
        await moving_claim(store, 1)
    await trigger(target, "BEFORE INSERT ON claim", "RAISE WARNING 'be careful'; RETURN NEW")

    assert (await moved(path, target, clock)).warnings == ["be careful"]
