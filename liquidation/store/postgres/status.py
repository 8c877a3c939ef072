"""How a PostgreSQL database stands, and whether the service can work on it; nothing is changed."""

from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import AsyncConnection, errors
from psycopg.rows import class_row

from liquidation.store.base import StoreStats
from liquidation.store.postgres.schema import NEWEST, PRIVILEGES, SchemaState, may_create, state_at

# How long the counting of rows may take: of millions of them it is a matter of seconds.
_COUNTING: Final = "20s"

_SERVER: Final = """
    SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
           current_database() AS database,
           coalesce(current_schema(), '') AS schema,
           current_user AS "user",
           pg_is_in_recovery() AS standby,
           current_setting('server_encoding') AS encoding,
           current_setting('fsync') = 'on' AS fsync,
           current_setting('full_page_writes') = 'on' AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('synchronous_standby_names') AS synchronous_standby_names
"""
_STANDBYS: Final = """
    SELECT coalesce(application_name, '') AS name, coalesce(state, '') AS state,
           coalesce(sync_state, '') AS sync_state
    FROM pg_stat_replication ORDER BY application_name
"""
_MISSING: Final = """
    SELECT privilege || ' on ' || name
    FROM unnest(%s::text[], %s::text[]) AS needed (name, privilege)
    WHERE NOT coalesce(has_table_privilege(to_regclass(quote_ident(name)), privilege), false)
"""
_BOUNDS: Final = """
    SELECT set_config('statement_timeout', %s, true), set_config('DateStyle', 'ISO', true)
"""
_STATS: Final = """
    SELECT open_liquidations, closed_liquidations, active, overdue, completed, cancelled, expired,
           oldest_end
    FROM (SELECT count(*) FILTER (WHERE close_time IS NULL) AS open_liquidations,
                 count(*) FILTER (WHERE close_time IS NOT NULL) AS closed_liquidations
          FROM liquidation) AS liquidations,
         (SELECT count(*) FILTER (WHERE state = 'ACTIVE' AND expire_time > now) AS active,
                 count(*) FILTER (WHERE state = 'ACTIVE' AND expire_time <= now) AS overdue,
                 count(*) FILTER (WHERE state = 'COMPLETED') AS completed,
                 count(*) FILTER (WHERE state = 'CANCELLED') AS cancelled,
                 count(*) FILTER (WHERE state = 'EXPIRED') AS expired,
                 min(end_time) AS oldest_end
          FROM claim CROSS JOIN (SELECT clock_timestamp() AS now) AS moment) AS claims
"""
# With their indexes.
_SIZES: Final = """
    SELECT name, pg_total_relation_size(to_regclass(quote_ident(name)))
    FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself and of the database, names as PostgreSQL has them.

    `schema` is where new tables would be, "" where the search_path names none that there is.
    """

    version: str
    database: str
    schema: str
    user: str
    standby: bool
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    synchronous_standby_names: str


@dataclass(frozen=True, slots=True)
class Standby:
    """A server that follows; both states are "" for a role that is no member of pg_monitor."""

    name: str
    state: str
    sync_state: str


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """A database, and the server at `address` that answered for it.

    `missing` are privileges that the service needs and the role lacks. `holds` is None where it was
    not counted, and `uncounted` says why. `sizes` are the bytes of tables with their indexes.
    """

    address: str
    server: Server
    standbys: tuple[Standby, ...]
    state: SchemaState
    may_create: bool
    missing: tuple[str, ...]
    holds: StoreStats | None = None
    uncounted: str = ""
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps a service of this version that connects as this role from its work."""
        found = []
        if self.server.standby:
            found.append(
                "it is a standby; with target_session_attrs=read-write in the URL the primary is"
                " found among several hosts"
            )
        if self.server.encoding != "UTF8":
            found.append(f"it has the encoding {self.server.encoding}, and must have UTF8")
        if not self.migrates and (problem := self.state.problem()):
            found.append(problem)
        if self.missing and self.state.version:
            found.append(f"the role lacks {', '.join(self.missing)}")
        if self._waits_in_vain:
            found.append("no synchronous standby is connected, and every commit waits for one")
        return tuple(found)

    @property
    def _waits_in_vain(self) -> bool:
        """Whether no standby is there that commits wait for, as far as the role sees that."""
        server = self.server
        return bool(server.synchronous_standby_names and not server.standby) and not any(
            each.sync_state in ("", "sync", "quorum") for each in self.standbys
        )

    @property
    def migrates(self) -> bool:
        """Whether the start of a service brings the schema to the version that it needs."""
        return self.may_create and self.state.version < NEWEST

    @property
    def notes(self) -> tuple[str, ...]:
        """What its owner should know, though the service works."""
        server = self.server
        found = {
            "fsync is off: what was acknowledged is lost when the machine fails": not server.fsync,
            "full_page_writes is off: a write that is torn when the machine fails goes unnoticed": (
                not server.full_page_writes
            ),
            "no synchronous standby: what was acknowledged is lost with the primary's disk": (
                not server.synchronous_standby_names and not server.standby
            ),
        }
        return tuple(told for told, holds in found.items() if holds)


async def look(connection: AsyncConnection[Any]) -> DatabaseStatus:
    """Looks at a database on a connection that is in autocommit mode.

    Raises:
        psycopg.Error: it does not let itself be asked.
    """
    async with connection.cursor(row_factory=class_row(Server)) as cursor:
        server = await (await cursor.execute(_SERVER)).fetchone()
    assert server is not None
    async with connection.cursor(row_factory=class_row(Standby)) as cursor:
        standbys = tuple(await (await cursor.execute(_STANDBYS)).fetchall())
    holds, uncounted = await _stats(connection)
    sizes = await connection.execute(_SIZES, (list(PRIVILEGES),))
    info = connection.info
    return DatabaseStatus(
        address=f"{info.hostaddr or info.host}:{info.port}",
        server=server,
        standbys=standbys,
        state=await state_at(connection),
        may_create=await may_create(connection),
        missing=await missing_privileges(connection),
        holds=holds,
        uncounted=uncounted,
        sizes=dict(await sizes.fetchall()),
    )


async def missing_privileges(connection: AsyncConnection[Any]) -> tuple[str, ...]:
    """Those of `PRIVILEGES` that the role lacks, such as "UPDATE on account".

    Where a table is not there, all on it are missing.

    Raises:
        psycopg.Error: the database cannot be asked.
    """
    pairs = [(name, privilege) for name, every in PRIVILEGES.items() for privilege in every]
    rows = await connection.execute(_MISSING, tuple(map(list, zip(*pairs, strict=True))))
    return tuple(told for (told,) in await rows.fetchall())


async def _stats(connection: AsyncConnection[Any]) -> tuple[StoreStats | None, str]:
    """What it holds; or None, and why that was not counted."""
    try:
        async with (
            connection.transaction(),
            connection.cursor(row_factory=class_row(StoreStats)) as cursor,
        ):
            await cursor.execute(_BOUNDS, (_COUNTING,))
            return await (await cursor.execute(_STATS)).fetchone(), ""
    except errors.UndefinedTable:
        return None, "there are no tables"
    except errors.InsufficientPrivilege as error:
        return None, error.diag.message_primary or ""
    except errors.QueryCanceled:
        return None, f"it takes longer than {_COUNTING}"
