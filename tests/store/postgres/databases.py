"""A fresh database for each test, for some 20 ms.

CREATE DATABASE writes 300 files: 20 ms at best, and 100 to 300 ms on ext4 once many were deleted
just before. A database that was emptied is as good as a new one where its catalogues hold what
those of a new one hold; where they do not, it is dropped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.store.postgres.server import PostgresServer

__all__ = ["Databases"]

_END_SESSIONS: Final = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Tables go first: they take sequences with them that cannot be dropped alone.
_DROP_ALL: Final = r"""
    DO $$ DECLARE statement text; BEGIN
        FOR statement IN
            SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
            WHERE nspname NOT IN ('public', 'information_schema') AND nspname NOT LIKE 'pg\_%'
        LOOP EXECUTE statement; END LOOP;
        FOR statement IN
            SELECT format('DROP %s IF EXISTS %s CASCADE', type, identity)
            FROM pg_depend, pg_identify_object(classid, objid, 0)
            WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'public'::regnamespace
            ORDER BY type <> 'table'
        LOOP EXECUTE statement; END LOOP;
        EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
    END $$
"""
# Every catalogue of a database, but for what is gathered on the side.
_CATALOGUES: Final = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
        AND relname <> 'pg_statistic'
"""
# Who may do what with the database and its schemas, and settings of roles in it.
_GRANTS: Final = """
    SELECT datdba, datacl::text, datconnlimit,
        (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = pg_database.oid),
        (SELECT string_agg(concat_ws(' ', nspname, nspowner, nspacl), ',' ORDER BY nspname)
         FROM pg_namespace)
    FROM pg_database WHERE datname = current_database()
"""

# Of all servers in this process: two may lend databases of the same one.
_numbers: Final = count(1)


class Databases:
    """Databases of a server, lent empty.

    Roles, like all that belongs to the whole server, stay: who makes one drops it.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._empty: list[str] = []
        self._new: object = None

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The URL of an empty database, which is this block's alone."""
        name = self._empty.pop() if self._empty else self._create()
        yield self._server.dsn(name)
        if self._emptied(name):
            self._empty.append(name)
        else:
            self._server.drop_database(name)

    def _create(self) -> str:
        name = f"test_{next(_numbers)}"
        self._server.create_database(name)
        if self._new is None:
            with self._connect(name) as connection:
                self._new = _contents(connection)
        return name

    def _emptied(self, name: str) -> bool:
        """Ends the sessions in a database, drops what is in it, and looks whether that was all."""
        try:
            with self._connect(name) as connection:
                connection.execute(_END_SESSIONS)
                connection.execute(_DROP_ALL)
                return _contents(connection) == self._new
        except psycopg.Error:
            return False

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        # The test may have set another path for the database.
        options = "-c search_path=pg_catalog"
        return psycopg.connect(self._server.dsn(name), autocommit=True, options=options)


def _contents(connection: psycopg.Connection[Any]) -> object:
    """How much there is of each kind of thing, and who may do what."""
    counts = [
        sql.SQL("SELECT {}, count(*) FROM {}").format(sql.Literal(name), sql.Identifier(name))
        for (name,) in connection.execute(_CATALOGUES)
    ]
    rows = connection.execute(sql.SQL(" UNION ALL ").join(counts)).fetchall()
    return sorted(rows), connection.execute(_GRANTS).fetchall()
