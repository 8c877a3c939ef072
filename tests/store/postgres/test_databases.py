"""A database that was lent before is as good as a new one."""

import psycopg
import pytest

from tests.store.postgres.databases import Databases
from tests.store.postgres.server import PostgresServer

_SCHEMAS = """
    CREATE SCHEMA other;
    CREATE TYPE other.mood AS ENUM ('calm');
    CREATE TABLE other.account (account_id text PRIMARY KEY, mood other.mood);
    CREATE TABLE claim (id bigint GENERATED ALWAYS AS IDENTITY, number serial, mood other.mood);
    CREATE VIEW claims AS SELECT * FROM claim;
    CREATE SEQUENCE tokens;
    CREATE DOMAIN ratio AS numeric;
    CREATE FUNCTION one(ratio) RETURNS int LANGUAGE sql AS 'SELECT 1';
    INSERT INTO claim (mood) VALUES ('calm');
    ANALYZE;
"""


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer) -> Databases:
    """Databases that no other test was lent."""
    return Databases(postgres_server)


def test_what_a_test_left_in_schemas_is_gone(databases: Databases) -> None:
    with databases.lend() as first, psycopg.connect(first, autocommit=True) as connection:
        connection.execute(_SCHEMAS)
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = other, pg_catalog")
    with databases.lend() as second, psycopg.connect(second) as connection:
        assert second == first
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
        for what in ("class", "proc", "type"):
            query = f"SELECT count(*) FROM pg_{what} WHERE {what[:3]}name = ANY(%s)"
            left = ["account", "claim", "claims", "tokens", "one", "mood", "ratio"]
            query = query.replace("claname", "relname")
            assert connection.execute(query, (left,)).fetchone() == (0,)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE PUBLICATION left_behind",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        "ALTER ROLE test_admin IN DATABASE {name} SET work_mem = '1MB'",
        "SELECT lo_create(0)",
    ],
)
def test_what_cannot_be_taken_back_is_not_lent_again(databases: Databases, change: str) -> None:
    with databases.lend() as first, psycopg.connect(first, autocommit=True) as connection:
        connection.execute(change.format(name=connection.info.dbname))
    with databases.lend() as second:
        assert second != first
    with databases.lend() as third:
        assert third == second


def test_sessions_that_a_test_left_are_ended(databases: Databases) -> None:
    with databases.lend() as dsn:
        left = psycopg.connect(dsn)
        left.execute("CREATE TABLE held (number int)")
    with pytest.raises(psycopg.errors.AdminShutdown):
        left.execute("SELECT 1")
    left.close()


def test_two_at_once_are_two(databases: Databases) -> None:
    with databases.lend() as one, databases.lend() as other:
        assert one != other
