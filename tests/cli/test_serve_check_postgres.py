"""`serve --check`: what it tells of a PostgreSQL database."""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import pytest

from liquidation.rules.model import ClaimState
from liquidation.server.preflight import postgres as preflight
from liquidation.store.base import ClaimFilter, StateQuery
from liquidation.store.locations import PostgresDatabase, open_store
from liquidation.store.postgres.schema import NEWEST, PRIVILEGES, SchemaState, migrate
from tests.cli.checking import check, contents, told
from tests.store.builders import begin, granted, snapshot
from tests.store.postgres.replication import replicated
from tests.store.postgres.server import HOST, SUPERUSER, PostgresServer
from tests.store.stores import AwaitedStore

pytestmark = pytest.mark.usefixtures("directory")

# What is told of the server that the tests share.
UNSYNCED = ("note", "fsync is off: what was acknowledged is lost when its machine fails")
GONE = "for as long as it is so, calls are refused with -1011"


def findings(url: str) -> list[tuple[str, str]]:
    """What is told of a database, without its name; the password S3cret never is."""
    result = check("--store", url)
    assert "S3cret" not in result.output
    found = [(state, words) for state, part, words in told(result) if part == "store"]
    assert result.exit_code == any(state == "wrong" for state, _ in found)
    name = f"{PostgresDatabase(url).told}: "
    assert all(words.startswith(name) for _, words in found)
    return [(state, words.removeprefix(name)) for state, words in found]


def finding(url: str) -> tuple[str, str]:
    """The first of them, but for the server that answered."""
    state, words = findings(url)[0]
    return state, words.partition(": ")[2] if words.startswith("PostgreSQL ") else words


def set_up(url: str) -> None:
    async def migrated() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await migrate(connection)

    asyncio.run(migrated())


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def role(url: str, privileges: Mapping[str, Sequence[str]] = MappingProxyType({})) -> Iterator[str]:
    """A role that may do this and no more, by table."""
    name = "sidecar"
    execute(url, f"CREATE ROLE {name} LOGIN")
    try:
        for table, every in privileges.items():
            execute(url, f"GRANT {', '.join(every)} ON {table} TO {name}")
        yield name
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def url_of(server: PostgresServer, url: str, user: str) -> str:
    """The same database, for another role."""
    return server.dsn(url.rpartition("/")[2], user=user)


def test_an_empty_database_is_told_with_its_server_and_stays_empty(
    postgres_server: PostgresServer, postgres_database: str, directory: Path
) -> None:
    first, *others = findings(postgres_database)

    version = f"PostgreSQL {postgres_server.version}"
    assert first[0] == "ok"
    assert first[1].startswith(version)
    assert first[1].endswith(
        f" at 127.0.0.1:{postgres_server.port}: has no tables yet, and will be set up"
    )
    assert others == [UNSYNCED]
    assert findings(postgres_database) == [first, *others]
    assert contents(directory) == {}


@pytest.mark.parametrize(
    ("version", "oldest", "state", "words"),
    [
        (NEWEST, 1, "ok", f"schema version {NEWEST}; no synchronous standby"),
        (NEWEST + 1, NEWEST, "ok", f"schema version {NEWEST + 1}; no synchronous standby"),
        (NEWEST + 1, NEWEST + 1, "wrong", SchemaState(NEWEST + 1, NEWEST + 1).problem()),
    ],
)
def test_the_version_of_the_schema_is_told(
    postgres_database: str, version: int, oldest: int, state: str, words: str
) -> None:
    set_up(postgres_database)
    execute(
        postgres_database,
        "DELETE FROM liquidation_schema",
        f"INSERT INTO liquidation_schema VALUES ({version}, {oldest})",
    )

    assert finding(postgres_database) == (state, words)


def test_a_schema_that_the_start_brings_to_a_newer_version_is_a_note_and_stays(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(postgres_database)
    monkeypatch.setattr(preflight, "NEWEST", NEWEST + 1)

    for _ in range(2):
        assert finding(postgres_database) == (
            "note",
            f"schema version {NEWEST}, which the start brings to {NEWEST + 1} for good",
        )


def test_an_empty_database_that_the_role_cannot_set_up_is_wrong(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    execute(postgres_database, "REVOKE CREATE ON SCHEMA public FROM public")
    with role(postgres_database) as user:
        assert finding(url_of(postgres_server, postgres_database, user)) == (
            "wrong",
            SchemaState().problem(),
        )


def test_a_role_serves_with_the_privileges_that_are_asked_for(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    with role(postgres_database, PRIVILEGES) as user:
        url = url_of(postgres_server, postgres_database, user)

        assert findings(url)[1:] == [UNSYNCED]
        assert finding(url)[0] == "ok"
        asyncio.run(serve(url))


def test_a_privilege_that_the_role_lacks_is_wrong(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    set_up(postgres_database)
    with role(postgres_database, PRIVILEGES) as user:
        url = url_of(postgres_server, postgres_database, user)
        for table, privilege in ((name, each) for name in PRIVILEGES for each in PRIVILEGES[name]):
            execute(postgres_database, f"REVOKE {privilege} ON {table} FROM {user}")
            found = findings(url)
            execute(postgres_database, f"GRANT {privilege} ON {table} TO {user}")

            if table == "liquidation_schema":
                assert found == [("wrong", f"permission denied for table {table}; {GONE}")]
            else:
                assert ("wrong", f"the role lacks {privilege} on {table}") in found


async def serve(url: str) -> None:
    """Does all that serving may ask of a database."""
    store = AwaitedStore(open_store(PostgresDatabase(url), timeout_s=2, connections=2))
    try:
        await store.put([snapshot(1), snapshot(2, account_id="account-2")])
        claim = granted(await begin(store))
        await store.renew(claim.claim_id, claim.fencing_token, 1_000_000)
        await store.end(claim.claim_id, None, ClaimState.COMPLETED, "")
        await store.states([StateQuery(1, "liquidator-1")])
        changes = [event.change for event in await store.history(claim.claim_id)]
        assert changes == ["begin", "renew", "complete"]
        assert len((await store.claims(ClaimFilter(), None, 10)).claims) == 1
        await store.close_liquidation(2)
        await store.expire(1)
        assert await store.purge(-1_000_000, 1) == 1
        assert await store.count_active() == 0
        await store.probe()
    finally:
        await store.aclose()


def test_a_standby_is_wrong_and_a_pair_is_told_by_its_primary() -> None:
    with replicated() as pair:
        set_up(pair.primary.dsn())
        standby = findings(pair.standby.dsn())
        state, words = findings(pair.dsn())[0]
        reverse = PostgresDatabase(
            f"postgresql://{SUPERUSER}@{HOST}:{pair.standby.port},{HOST}:{pair.primary.port}/postgres"
        )
        first_of_both = findings(reverse.url)[0][0]

    assert [each for each, _ in standby] == ["wrong"]
    assert standby[0][1].endswith(
        "is a standby; with target_session_attrs=read-write the primary is found among several"
        " hosts"
    )
    assert first_of_both == "wrong"
    assert state == "ok"
    assert words.endswith(
        f" at {HOST}:{pair.primary.port}: schema version {NEWEST};"
        " commits wait for a synchronous standby"
    )


def test_a_host_that_is_gone_beside_one_that_answers_does_no_harm(postgres_database: str) -> None:
    url = postgres_database.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:")

    assert finding(url) == ("ok", "has no tables yet, and will be set up")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:S3cret@127.0.0.1:1/db", "Connection refused"),
        ("postgresql://u:S3cret@nowhere.invalid/db", "nowhere.invalid"),
        ("postgresql://u:S3cret@127.0.0.1:1,nowhere.invalid/db", "Connection refused"),
    ],
)
def test_a_server_that_cannot_be_reached_is_wrong(url: str, words: str) -> None:
    state, told = finding(url)

    assert state == "wrong"
    assert words in told
    assert told.endswith(f"; {GONE}")


@pytest.mark.parametrize("parameters", ["passwort=S3cret", "password=x&S3cret=y", "S3cret=1"])
def test_what_libpq_says_of_a_url_is_not_repeated(parameters: str) -> None:
    assert finding(f"postgresql://127.0.0.1:1/db?{parameters}") == (
        "wrong",
        f"libpq does not take the URL; {GONE}",
    )


def test_what_a_driver_says_that_holds_the_password_is_not_repeated() -> None:
    url = "postgresql://u:refused@127.0.0.1:1/db"
    hidden = PostgresDatabase(url).shown("Connection refused")

    assert finding(url) == ("wrong", f"{hidden}; {GONE}")
    assert "Connection" not in hidden


def test_a_role_or_database_that_is_not_there_is_wrong(postgres_server: PostgresServer) -> None:
    for url, words in (
        (postgres_server.dsn("nothing"), 'database "nothing" does not exist'),
        (postgres_server.dsn(user="nobody:S3cret"), 'role "nobody" does not exist'),
    ):
        state, told = finding(url)
        assert state == "wrong"
        assert words in told


def test_a_server_that_lets_nobody_in_is_given_up_however_patient_the_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "_CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        assert finding(f"postgresql://u:S3cret@127.0.0.1:{port}/db?connect_timeout=9999") == (
            "wrong",
            f"connection timeout expired; {GONE}",
        )


def test_a_database_that_does_not_answer_is_given_up(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(postgres_database)
    monkeypatch.setattr(preflight, "_ANSWER_S", 0.2)
    with psycopg.connect(postgres_database) as other:
        other.execute("LOCK TABLE liquidation_schema")

        assert finding(postgres_database) == ("wrong", f"no answer within 0.2 s; {GONE}")


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (-3.5, "its clock, by which leases run, is 3.5 s behind this host's"),
        (3.5, "its clock, by which leases run, is 3.5 s ahead of this host's"),
        (0.9, None),
    ],
)
def test_a_clock_that_differs_from_the_hosts_is_a_note(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch, ahead: float, words: str | None
) -> None:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) - timedelta(seconds=ahead)

    monkeypatch.setattr(preflight, "datetime", Shifted)
    found = findings(postgres_database)[1:]

    assert found == [UNSYNCED, *([("note", words)] if words else [])]
