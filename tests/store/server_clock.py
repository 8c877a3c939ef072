"""A PostgreSQL server's clock that a test moves by hand.

The service calls `clock_timestamp()` as everybody does. In a database whose search_path has another
schema before `pg_catalog`, a function of that name there is the one that is called.
"""

from typing import Self

import psycopg
from psycopg import sql

from tests.clocks import Clock

_CLOCK = """
    CREATE SCHEMA testing;
    CREATE TABLE testing.clock (wall_us bigint NOT NULL);
    CREATE FUNCTION testing.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
        'SELECT timestamptz ''epoch'' + wall_us * interval ''1 microsecond'' FROM testing.clock';
"""


class ServerClock(Clock):
    """The clock of the database at `dsn`, from the next connection on."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._connection = psycopg.connect(dsn, autocommit=True)
        name = self._connection.info.dbname
        self._connection.execute(_CLOCK)
        self._connection.execute("INSERT INTO testing.clock VALUES (%s)", (self.wall_us(),))
        self._connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = testing, pg_catalog, public").format(
                sql.Identifier(name)
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._show()

    def set_wall(self, seconds: float) -> None:
        super().set_wall(seconds)
        self._show()

    def _show(self) -> None:
        self._connection.execute("UPDATE testing.clock SET wall_us = %s", (self.wall_us(),))
