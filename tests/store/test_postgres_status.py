"""How a PostgreSQL database stands, as it is told to those who look after it."""

from dataclasses import replace
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from liquidation.rules.model import ClaimState
from liquidation.store.base import StoreStats
from liquidation.store.postgres import schema as status
from liquidation.store.postgres.schema import (
    NEWEST,
    PRIVILEGES,
    DatabaseStatus,
    SchemaState,
    Server,
    Standby,
    look,
    script,
)
from tests.store.builders import snapshot
from tests.store.moving import moving_claim
from tests.store.stores import ServerClock, connected, postgres_store, set_up

SERVER = Server(
    version="15.18",
    database="liquidation",
    schema="public",
    user="service",
    standby=False,
    encoding="UTF8",
    fsync=True,
    full_page_writes=True,
    synchronous_commit="on",
    synchronous_standby_names="ANY 1 (*)",
)
SOUND = DatabaseStatus(
    address="127.0.0.1:5432",
    server=SERVER,
    standbys=(Standby("one", "streaming", "quorum"),),
    state=SchemaState(NEWEST, 1),
    may_create=False,
    missing=(),
)


def like(server: dict[str, Any] | None = None, **changes: Any) -> DatabaseStatus:
    """A sound database, but for some changes."""
    return replace(SOUND, server=replace(SERVER, **(server or {})), **changes)


IT_IS_A_STANDBY = (
    "it is a standby; with target_session_attrs=read-write in the URL the primary is"
    " found among several hosts"
)
NOT_WHOLE = "full_page_writes is off: a write that is torn when the machine fails goes unnoticed"
NOBODY_FOLLOWS = "no synchronous standby is connected, and every commit waits for one"


@pytest.mark.parametrize(
    ("status", "problems"),
    [
        (SOUND, ()),
        (
            like({"standby": True}),
            (IT_IS_A_STANDBY,),
        ),
        (like({"encoding": "LATIN1"}), ("it has the encoding LATIN1, and must have UTF8",)),
        (like(standbys=()), (NOBODY_FOLLOWS,)),
        (like(standbys=(Standby("a", "streaming", "async"),)), (NOBODY_FOLLOWS,)),
        (like(standbys=(Standby("a", "streaming", "potential"),)), (NOBODY_FOLLOWS,)),
        (like(standbys=(Standby("a", "streaming", "sync"),)), ()),
        (like(standbys=(Standby("a", "", ""),)), ()),  # the role may not see it
        (like({"synchronous_standby_names": ""}, standbys=()), ()),
        (
            like(missing=("UPDATE on account", "INSERT on claim")),
            ("the role lacks UPDATE on account, INSERT on claim",),
        ),
        # Without tables nothing on them can be missing; they are to be made first.
        (
            like(state=SchemaState(), missing=("UPDATE on account",)),
            (SchemaState().problem(),),
        ),
        (like(state=SchemaState(), may_create=True), ()),
        (
            like(state=SchemaState(NEWEST + 1, NEWEST + 1), may_create=True),
            (SchemaState(NEWEST + 1, NEWEST + 1).problem(),),
        ),
    ],
)
def test_what_keeps_a_service_from_its_work_is_told(
    status: DatabaseStatus, problems: tuple[str, ...]
) -> None:
    assert status.problems == problems


def test_a_standby_waits_for_nobody() -> None:
    assert like({"standby": True}, standbys=()).problems == (IT_IS_A_STANDBY,)


@pytest.mark.parametrize(
    ("version", "may_create", "migrates"),
    [(0, True, True), (0, False, False), (NEWEST - 1, True, True), (NEWEST, True, False)],
)
def test_the_start_of_a_service_migrates_what_is_older_where_it_may(
    version: int, may_create: bool, migrates: bool
) -> None:
    assert like(state=SchemaState(version), may_create=may_create).migrates is migrates


@pytest.mark.parametrize(
    ("status", "notes"),
    [
        (SOUND, ()),
        (
            like({"fsync": False}),
            ("fsync is off: what was acknowledged is lost when the machine fails",),
        ),
        (
            like({"full_page_writes": False}),
            (NOT_WHOLE,),
        ),
        (
            like({"synchronous_standby_names": ""}),
            ("no synchronous standby: what was acknowledged is lost with the primary's disk",),
        ),
        (like({"synchronous_standby_names": "", "standby": True}), ()),
    ],
)
def test_what_an_owner_should_know_is_told_though_the_service_works(
    status: DatabaseStatus, notes: tuple[str, ...]
) -> None:
    assert status.notes == notes


async def test_a_database_is_told_with_all_that_it_holds(postgres_database: str) -> None:
    await set_up(postgres_database)
    with ServerClock(postgres_database) as clock:
        async with postgres_store(postgres_database) as store:
            for number, state in enumerate((ClaimState.COMPLETED, ClaimState.CANCELLED), start=1):
                claim = await moving_claim(store, number)
                await store.end(claim.claim_id, claim.fencing_token, state, "")
            await moving_claim(store, 3, lease_s=10)
            await moving_claim(store, 4, lease_s=10)
            await moving_claim(store, 6, lease_s=10)
            clock.advance(10)
            assert len(await store.expire(1)) == 1
            await moving_claim(store, 5)
            await store.put([snapshot(9, account_id="account-9")])
            await store.close_liquidation(9)
        async with connected(postgres_database) as connection:
            found = await look(connection)

            asked = """
                SELECT current_setting('server_version'), current_user, current_schema(),
                       current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
                       min(end_time) FROM claim
            """
            row = await (await connection.execute(asked)).fetchone()
    assert row is not None
    version, user, schema, fsync, full_page_writes, oldest_end = row
    parts = conninfo_to_dict(postgres_database)
    assert found.address == f"{parts['host']}:{parts['port']}"
    assert found.server == replace(
        SERVER,
        version=version.split()[0],
        database=str(parts["dbname"]),
        schema=schema,
        user=user,
        fsync=fsync,
        full_page_writes=full_page_writes,
        synchronous_standby_names="",
    )
    assert (found.standbys, found.missing, found.uncounted) == ((), (), "")
    assert (found.state, found.may_create) == (SchemaState(NEWEST, 1), True)
    assert found.holds == StoreStats(6, 1, 1, 2, 1, 1, 1, oldest_end)
    assert found.sizes.keys() == PRIVILEGES.keys()
    assert min(found.sizes.values()) > 0


async def test_where_nothing_was_made_yet_that_is_told(postgres_database: str) -> None:
    async with connected(postgres_database) as connection:
        found = await look(connection)

    assert (found.holds, found.uncounted, found.sizes) == (None, "there are no tables", {})
    assert found.state == SchemaState()
    assert found.missing == tuple(
        f"{privilege} on {name}" for name, every in PRIVILEGES.items() for privilege in every
    )


async def test_a_role_that_may_read_nothing_is_told_what_it_lacks(postgres_database: str) -> None:
    await set_up(postgres_database)
    async with (
        connected(postgres_database) as connection,
        connection.transaction(force_rollback=True),
    ):
        await connection.execute("CREATE ROLE nobody_at_all")
        await connection.execute("GRANT SELECT ON liquidation_schema TO nobody_at_all")
        await connection.execute("SET LOCAL ROLE nobody_at_all")
        found = await look(connection)

    assert found.holds is None
    assert found.uncounted.startswith("permission denied for ")
    assert "SELECT on claim" in found.missing
    assert not found.may_create
    assert found.server.user == "nobody_at_all"


async def test_looking_leaves_the_connection_as_it_was(postgres_database: str) -> None:
    await set_up(postgres_database)
    asked = "SELECT current_setting('statement_timeout'), current_setting('DateStyle')"
    async with connected(postgres_database) as connection:
        await connection.execute("SET DateStyle = 'German'")
        before = await (await connection.execute(asked)).fetchone()

        await look(connection)

        assert await (await connection.execute(asked)).fetchone() == before


async def test_a_server_is_told_by_its_address_whatever_it_was_called(
    postgres_database: str,
) -> None:
    by_name = make_conninfo(postgres_database, host="localhost")
    async with connected(by_name) as connection:
        found = await look(connection)

    assert found.address == f"127.0.0.1:{conninfo_to_dict(postgres_database)['port']}"


async def test_rows_that_take_too_long_to_count_are_not_counted(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_COUNTING", "20ms")
    await set_up(postgres_database)
    async with connected(postgres_database) as other, other.transaction():
        await other.execute("LOCK TABLE claim IN ACCESS EXCLUSIVE MODE")
        async with connected(postgres_database) as connection:
            found = await status._stats(connection)

    assert found == (None, "it takes longer than 20ms")


# What is asked of a database finds what is here before what PostgreSQL has of that name.
BEFORE = "SET search_path = testing, pg_catalog, public"


async def test_every_standby_is_told_by_its_name_and_states(postgres_database: str) -> None:
    async with connected(postgres_database) as connection:
        await connection.execute("CREATE SCHEMA testing")
        await connection.execute(
            """
            CREATE VIEW testing.pg_stat_replication AS
            SELECT * FROM (VALUES ('two', 'streaming', 'quorum'), ('one', NULL, NULL))
                AS standby (application_name, state, sync_state)
            """
        )
        await connection.execute(BEFORE)
        found = await look(connection)

    assert found.standbys == (Standby("one", "", ""), Standby("two", "streaming", "quorum"))


async def test_the_counting_of_rows_is_bounded(postgres_database: str) -> None:
    await set_up(postgres_database)
    async with connected(postgres_database) as connection:
        await connection.execute("CREATE SCHEMA testing")
        await connection.execute("CREATE TABLE testing.bounds (bound text)")
        await connection.execute(
            """
            CREATE FUNCTION testing.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
                $$
                    INSERT INTO testing.bounds VALUES (current_setting('statement_timeout'));
                    SELECT now()
                $$
            """
        )
        await connection.execute(BEFORE)
        found = await look(connection)
        bounds = await (await connection.execute("SELECT bound FROM bounds")).fetchall()

    assert found.holds == StoreStats(0, 0, 0, 0, 0, 0, 0, None)
    assert set(bounds) == {("20s",)}


def test_a_script_says_from_where_it_leads_to_where() -> None:
    assert script(SchemaState(0)).startswith(
        f"-- The schema of the liquidation service: from version 0 to {NEWEST},"
        " all of it or nothing.\n"
    )
    assert script(SchemaState(NEWEST)) == ""


def test_a_script_waits_a_little_for_whoever_migrates_in_any_version() -> None:
    assert (
        "\nBEGIN;\nSET LOCAL lock_timeout = '5s';\nSELECT pg_advisory_xact_lock(1818849653);\n"
        in (script(SchemaState(0)))
    )
