"""The PostgreSQL schema in numbered steps, and the status of a database.

A step that is published is never edited; what changes later is a new step. Services of two versions
run beside each other while they are replaced, so each step says which services can still work on
the schema that it makes: `oldest_service` is the newest schema that such a service knows. What an
older service needs is taken away only by the step after the one that made it needless.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, Final

from psycopg import AsyncConnection, errors
from psycopg.rows import class_row

from liquidation.store.base import SchemaError, StoreStats
from liquidation.store.postgres import SQL
from liquidation.store.records import statements_of

# Whoever migrates holds this lock until its transaction ends; any number that nobody else takes.
LOCK_KEY: Final = 0x6C697175
# How long a lock is waited for, in seconds: a table that is locked queues everybody behind it.
PATIENCE_S: Final = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One version of the schema, and how it is made of the one before."""

    oldest_service: int
    statements: tuple[str, ...]


STEPS: Final = (Step(1, statements_of("liquidation.store.postgres", "migrations/1.sql")),)

# The version that this service makes, and the one that it needs.
NEWEST: Final = len(STEPS)
# What a role needs to serve, by table; what hangs on a claim that is purged goes with it.
PRIVILEGES: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("SELECT", "INSERT", "UPDATE"),
    "liquidation": ("SELECT", "INSERT", "UPDATE"),
    "claim": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "claim_event": ("SELECT", "INSERT"),
    "liquidation_schema": ("SELECT",),
}


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a database holds: version 0 if there is nothing of this service."""

    version: int = 0
    oldest_service: int = 0

    def problem(self, known: int = NEWEST) -> str:
        """Why a service that knows schema version `known` cannot work on it; "" if it can."""
        if self.version < known:
            return (
                f"the database has schema version {self.version}, this service needs {known}: "
                "run `liquidation db migrate`"
            )
        if self.oldest_service > known:
            return (
                f"the database has schema version {self.version}, which services below "
                f"{self.oldest_service} cannot use, and this one knows {known}: "
                "it was migrated by a newer version"
            )
        return ""


async def state_at(connection: AsyncConnection[Any]) -> SchemaState:
    """The version of the schema that the connection finds by its search_path; changes nothing.

    Raises:
        psycopg.Error: the database cannot be read.
    """
    try:
        row = await (await connection.execute(SQL["schema_state"])).fetchone()
    except errors.UndefinedTable:
        return SchemaState()
    return SchemaState() if row is None else SchemaState(*row)


async def require(connection: AsyncConnection[Any]) -> None:
    """Returns if this service can work on the database; migrates it if the role may.

    Raises:
        SchemaError: it cannot, and the role may not create tables, or the database is newer.
        psycopg.Error: the database cannot be used.
    """
    state = await state_at(connection)
    if state.version < NEWEST and await may_create(connection):
        state = await migrate(connection)
    if problem := state.problem():
        raise SchemaError(problem)


async def migrate(connection: AsyncConnection[Any], steps: tuple[Step, ...] = STEPS) -> SchemaState:
    """Does all steps that are missing, in one transaction; several may try at once.

    A database that is newer is left as it is. `connection` is in autocommit mode.

    Raises:
        psycopg.Error: the database cannot be used, or the role may not.
    """
    async with connection.transaction():
        # The version is read after the lock was waited for, and must be that of after.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE_S}s'")
        # Of the transaction, not of the session: it holds through a pooler of connections too.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        await connection.execute(SQL["create_versions"])
        state = await state_at(connection)
        for version, step in enumerate(steps[state.version :], start=state.version + 1):
            for statement in _statements_of(version, step):
                await connection.execute(statement)
            state = SchemaState(version, step.oldest_service)
    return state


async def may_create(connection: AsyncConnection[Any]) -> bool:
    """Whether the role of the connection may make tables where they would be looked for."""
    answer = await connection.execute(
        "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        " AND NOT pg_is_in_recovery()"
    )
    return await answer.fetchone() == (True,)


_HEAD: Final = """
-- The schema of the liquidation service: from version {before} to {after}, all of it or nothing.
-- To be run by the owner of the schema that the service works in, first in the search_path:
--   psql --set ON_ERROR_STOP=1 --dbname URL --file FILE
"""


def script(state: SchemaState, steps: tuple[Step, ...] = STEPS) -> str:
    """What `migrate` would do on a database in `state`, as SQL; "" if nothing is missing.

    If others have done a step of it meanwhile, it fails and changes nothing.
    """
    if state.version >= len(steps):
        return ""
    head = _HEAD.format(before=state.version, after=len(steps)).lstrip()
    return head + "\n".join(("BEGIN;", *_statements(state, steps), "COMMIT;", ""))


def _statements(state: SchemaState, steps: tuple[Step, ...]) -> Iterator[str]:
    yield f"SET LOCAL lock_timeout = '{PATIENCE_S}s';"
    # Nobody else migrates meanwhile.
    yield f"SELECT pg_advisory_xact_lock({LOCK_KEY});"
    yield _written(SQL["create_versions"])
    for version, step in enumerate(steps[state.version :], start=state.version + 1):
        yield f"\n-- Version {version}"
        yield from map(_written, _statements_of(version, step))


def _statements_of(version: int, step: Step) -> tuple[str, ...]:
    row = f"({version}, {step.oldest_service})"
    note = f"INSERT INTO liquidation_schema (version, oldest_service) VALUES {row}"
    return *step.statements, note


def _written(statement: str) -> str:
    return f"{dedent(statement).strip()};"


# How long the counting of rows may take: of millions of them it is a matter of seconds.
_COUNTING: Final = "20s"


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself and of the database, names as PostgreSQL has them.

    `schema` is where new tables would be, "" if the search_path names none that exists.
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

    `missing` are privileges that the service needs and the role lacks. `holds` is None if it was
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
        return tuple(note for note, holds in found.items() if holds)


async def look(connection: AsyncConnection[Any]) -> DatabaseStatus:
    """Looks at a database on a connection that is in autocommit mode.

    Raises:
        psycopg.Error: it does not let itself be asked.
    """
    async with connection.cursor(row_factory=class_row(Server)) as cursor:
        server = await (await cursor.execute(SQL["server"])).fetchone()
    assert server is not None
    async with connection.cursor(row_factory=class_row(Standby)) as cursor:
        standbys = tuple(await (await cursor.execute(SQL["standbys"])).fetchall())
    holds, uncounted = await _stats(connection)
    sizes = await connection.execute(SQL["table_sizes"], (list(PRIVILEGES),))
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

    If a table is not there, all on it are missing.

    Raises:
        psycopg.Error: the database cannot be asked.
    """
    pairs = [(name, privilege) for name, every in PRIVILEGES.items() for privilege in every]
    rows = await connection.execute(
        SQL["missing_privileges"], tuple(map(list, zip(*pairs, strict=True)))
    )
    return tuple(privilege for (privilege,) in await rows.fetchall())


async def _stats(connection: AsyncConnection[Any]) -> tuple[StoreStats | None, str]:
    try:
        async with (
            connection.transaction(),
            connection.cursor(row_factory=class_row(StoreStats)) as cursor,
        ):
            await cursor.execute(SQL["bound_count"], (_COUNTING,))
            return await (await cursor.execute(SQL["stats"])).fetchone(), ""
    except errors.UndefinedTable:
        return None, "there are no tables"
    except errors.InsufficientPrivilege as error:
        return None, error.diag.message_primary or ""
    except errors.QueryCanceled:
        return None, f"it takes longer than {_COUNTING}"
