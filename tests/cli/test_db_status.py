"""`liquidation db status` of a PostgreSQL database: how it stands, and whether it will do."""

import asyncio
import json
import time
from typing import Any

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.locations import open_store, parse_location
from liquidation.store.postgres.schema import NEWEST, PRIVILEGES
from tests.cli.commands import run
from tests.cli.test_serve_check_postgres import execute, role, set_up, url_of
from tests.store.builders import begin, begin_request, granted, snapshot
from tests.store.postgres.pgbouncer import PgBouncer
from tests.store.postgres.replication import replicated
from tests.store.postgres.server import PostgresServer
from tests.store.stores import AwaitedStore, ServerClock

HOLDS = {
    "open_liquidations": 4,
    "closed_liquidations": 1,
    "active": 1,
    "overdue": 1,
    "completed": 1,
    "cancelled": 1,
    "expired": 0,
}
NOTHING = dict.fromkeys(HOLDS, 0) | {"oldest_end": None}


def status(url: str) -> dict[str, Any]:
    """What programs are told; the exit status agrees with it."""
    result = run("db", "status", "--store", url, "--format", "json")
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (not found["works"]) == bool(found["problems"])
    return found


def drawn(url: str, exit_code: int = 0) -> str:
    """What people are told, without the spaces that lay it out."""
    result = run("db", "status", "--store", url)
    assert (result.exit_code, result.stderr) == (exit_code, "")
    return " ".join(result.stdout.split())


def fill(url: str, clock: ServerClock | None = None) -> int:
    """Stores what `HOLDS` says; the microsecond at which the first claim ended."""

    async def filled() -> int:
        store = AwaitedStore(open_store(parse_location(url), timeout_s=10, connections=2))
        try:
            return await _fill(store, clock)
        finally:
            await store.aclose()

    return asyncio.run(filled())


async def _fill(store: AwaitedStore, clock: ServerClock | None) -> int:
    claims = []
    for number in range(1, 5):
        brought = snapshot(number, account_id=f"account-{number}")
        request = begin_request(snapshot=brought, lease_s=2 if number == 4 else 300)
        claims.append(granted(await begin(store, request)))
    await store.put([snapshot(5)])
    await store.close_liquidation(5)
    if clock is not None:
        clock.advance(3)
    completed, cancelled, *_ = claims
    ended = await store.end(completed.claim_id, completed.fencing_token, ClaimState.COMPLETED, "")
    await store.end(cancelled.claim_id, None, ClaimState.CANCELLED, "why")
    assert ended.claim is not None
    assert ended.claim.end_us is not None
    return ended.claim.end_us


def test_a_database_is_told_with_its_server_and_what_it_holds(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    with ServerClock(postgres_database) as clock:
        fill(postgres_database, clock)
        found = status(postgres_database)

    assert found["store"] == postgres_database
    assert found["address"] == f"127.0.0.1:{postgres_server.port}"
    assert found["server"] | {"synchronous_standby_names": ""} == found["server"]
    assert found["server"]["version"] == postgres_server.version
    assert found["server"]["database"] == postgres_database.rpartition("/")[2]
    assert (found["server"]["user"], found["server"]["standby"]) == ("test_admin", False)
    assert found["schema"] == {"version": NEWEST, "newest_known": NEWEST, "oldest_service": 1}
    assert found["holds"] == HOLDS | {"oldest_end": "2027-01-15T08:00:03+00:00"}
    assert set(found["bytes"]) == set(PRIVILEGES)
    assert all(size > 0 for size in found["bytes"].values())
    assert [each.partition(":")[0] for each in found["notes"]] == [
        "fsync is off",
        "no synchronous standby",
    ]


def test_people_are_told_the_same(postgres_server: PostgresServer, postgres_database: str) -> None:
    set_up(postgres_database)
    with ServerClock(postgres_database) as clock:
        fill(postgres_database, clock)
        told = drawn(postgres_database)

    place = f"PostgreSQL {postgres_server.version} at 127.0.0.1:{postgres_server.port}"
    for words in (
        f"server {place}, primary",
        f"schema version {NEWEST}, the newest known here",
        "liquidations 4 open, 1 closed",
        "claims 1 active, 1 whose lease ran out 1 completed, 1 cancelled, 0 expired",
        "first to be purged ended 2027-01-15 08:00:03 UTC",
        "tables account ",
        "note fsync is off",
    ):
        assert words in told
    assert told.endswith("The service can work on it.")


def test_an_empty_database_can_be_worked_on_by_a_role_that_may_make_the_tables(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    found = status(postgres_database)
    assert (found["works"], found["next_start_migrates"], found["holds"]) == (True, True, None)
    assert f"schema none yet; a start makes it {NEWEST}" in drawn(postgres_database)

    execute(postgres_database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with role(postgres_database) as name:
        url = url_of(postgres_server, postgres_database, name)
        found = status(url)
        told = drawn(url, exit_code=1)

    assert "run `liquidation db migrate`" in found["problems"][0]
    assert "wrong the database has schema version 0" in told
    assert told.endswith("The service cannot work on it.")


def test_privileges_that_the_role_lacks_are_named(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    fewer = {**PRIVILEGES, "account": ("SELECT",), "claim_event": ("INSERT",)}
    with role(postgres_database, fewer) as name:
        found = status(url_of(postgres_server, postgres_database, name))

    lacking = ["INSERT on account", "UPDATE on account", "SELECT on claim_event"]
    assert found["missing_privileges"] == lacking
    assert found["problems"] == [f"the role lacks {', '.join(lacking)}"]
    assert found["holds"] == NOTHING


def test_what_the_role_may_not_read_is_not_counted_and_says_so(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    with role(postgres_database, {"liquidation_schema": ("SELECT",)}) as name:
        url = url_of(postgres_server, postgres_database, name)
        found = status(url)
        told = drawn(url, exit_code=1)

    assert (found["holds"], found["not_counted"]) == (
        None,
        "permission denied for table liquidation",
    )
    assert "rows not counted: permission denied for table liquidation" in told


@pytest.mark.parametrize(("oldest", "works"), [(NEWEST, True), (NEWEST + 1, False)])
def test_a_newer_schema_can_be_worked_on_where_it_says_so(
    postgres_database: str, oldest: int, works: bool
) -> None:
    set_up(postgres_database)
    execute(
        postgres_database,
        f"INSERT INTO liquidation_schema (version, oldest_service) VALUES ({NEWEST + 1}, {oldest})",
    )

    found = status(postgres_database)

    assert (found["works"], found["schema"]["oldest_service"]) == (works, oldest)


def test_a_standby_is_told_and_so_is_a_primary_without_one() -> None:
    with replicated() as pair:
        set_up(pair.primary.dsn())
        primary, standby = status(pair.primary.dsn()), status(pair.standby.dsn())
        with role(pair.primary.dsn(), PRIVILEGES) as name:
            url = url_of(pair.primary, pair.primary.dsn(), name)
            unseen, told_unseen = status(url), drawn(url)
        pair.standby.kill()
        _wait_until_unfollowed(pair.primary)
        alone = status(pair.primary.dsn())
        told = drawn(pair.primary.dsn(), exit_code=1)

    assert primary["notes"] == []
    assert primary["standbys"] == [{"name": "standby", "state": "streaming", "sync_state": "sync"}]
    assert (standby["server"]["standby"], standby["works"], standby["notes"]) == (True, False, [])
    assert "target_session_attrs=read-write" in standby["problems"][0]
    assert unseen["standbys"] == [{"name": "standby", "state": "", "sync_state": ""}]
    assert "standby standby: a member of pg_monitor sees its state" in told_unseen
    assert alone["standbys"] == []
    assert alone["problems"] == [
        "no synchronous standby is connected, and every commit waits for one"
    ]
    assert "synchronous_standby_names standby" in told


def _wait_until_unfollowed(server: PostgresServer) -> None:
    ends = time.monotonic() + 30
    with server.connect() as connection:
        while connection.execute("SELECT FROM pg_stat_replication").fetchone() is not None:
            assert time.monotonic() < ends


def test_it_looks_through_a_pooler(pooler: PgBouncer, postgres_database: str) -> None:
    set_up(postgres_database)

    found = status(pooler.dsn(postgres_database))

    assert found["works"]
    assert found["holds"] == NOTHING


def test_times_are_read_however_the_database_writes_them(postgres_database: str) -> None:
    set_up(postgres_database)
    fill(postgres_database)
    name = postgres_database.rpartition("/")[2]
    execute(postgres_database, f"ALTER DATABASE {name} SET DateStyle = 'German'")

    assert status(postgres_database)["holds"]["oldest_end"].endswith("+00:00")


def test_no_password_is_shown(postgres_database: str) -> None:
    set_up(postgres_database)
    url = postgres_database.replace("test_admin@", "test_admin:S3cret%40@")

    for form in ("json", "table"):
        result = run("db", "status", "--store", url, "--format", form)

        assert result.exit_code == 0
        assert postgres_database in result.stdout
        assert "S3cret" not in result.output
