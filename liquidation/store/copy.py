"""Moves all that is in a SQLite store to a PostgreSQL database: one transaction there, or nothing.

Rows stream from one to the other, and once more to be compared, so that memory does not grow with
their number.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
from psycopg import AsyncConnection, errors, sql

from liquidation.store.base import StoreError
from liquidation.store.postgres import SQL
from liquidation.store.postgres.connection import warnings_of
from liquidation.store.postgres.schema import state_at
from liquidation.store.records import microseconds
from liquidation.store.sqlite.connections import StoreClock
from liquidation.store.sqlite.source import Row, Source, alone

# Called now and then with what is being done, "copied" or "compared", and how many rows are.
Progress = Callable[[str, int], None]

# Rows between two words on the progress, and rows that are fetched at once.
_STRIDE: Final = 1000
# How long others who write to the target are waited for.
_PATIENCE: Final = "5s"


class CopyError(StoreError):
    """Nothing was copied, and the target is as it was; the text says why."""


class InDoubtError(StoreError):
    """The connection broke at the commit: whether all was copied, or nothing, is not known."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was moved and compared: `rows` counts those of each table.

    `running` leases run on in the target, `over` had run out without being stored as expired.
    `next_token` is the next claim's fencing token. `replaced` characters U+0000 became U+FFFD.
    """

    rows: Mapping[str, int]
    running: int
    over: int
    next_token: int
    replaced: int
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the target, whose key is its first column. Those of `json` hold JSON texts."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    json: frozenset[str] = frozenset()


async def copy(
    path: Path,
    connection: AsyncConnection[Any],
    clock: StoreClock,
    progress: Progress = lambda *_: None,
) -> Copied:
    """Moves all that is in the SQLite file at `path`, in which nothing changes.

    `connection` is in autocommit mode, and of the role that owns the tables. `clock` is the one
    that the file is used with.

    Raises:
        CopyError: the target is not empty or not as it should be, or others are at work in it.
        InDoubtError: whether it was done is not known.
        SourceError: the file cannot be used, or is in use.
        psycopg.Error: the target cannot be used; nothing was done.
    """
    with alone(path) as reading, warnings_of(connection) as warnings:
        source = Source(reading, clock)
        async with _transaction(connection):
            server_now_us = await _made_ready(connection)
            next_token = await _move_sequences(connection, source)
            tables = _tables(source, server_now_us)
            copied = _counting(progress, "copied")
            rows = {table.name: await _fill(connection, table, copied) for table in tables}
            replaced = source.replaced
            compared = _counting(progress, "compared")
            for table in tables:
                await _compare(connection, table, compared)
            # Without it the server plans for empty tables, until it notices.
            await connection.execute("ANALYZE account, liquidation, claim, claim_event")
            running, over = source.leases()
    return Copied(rows, running, over, next_token, replaced, warnings)


@asynccontextmanager
async def _transaction(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    committing = False
    try:
        async with connection.transaction():
            yield
            committing = True
    except errors.LockNotAvailable as error:
        raise CopyError("others are at work in the target: stop them first") from error
    except psycopg.OperationalError as error:
        if committing and connection.closed:
            raise InDoubtError(
                "the connection broke at the commit: either all was copied, or nothing"
            ) from error
        raise


async def _made_ready(connection: AsyncConnection[Any]) -> int:
    """The server's time in microseconds, once the target can be filled and is locked."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    await connection.execute(SQL["copy_settings"], (_PATIENCE,))
    # Its moment is read after that of the file: rather a lease lasts longer than was promised.
    (now,) = await _one(connection, "SELECT clock_timestamp()")
    if problem := (await state_at(connection)).problem():
        raise CopyError(f"the target cannot be used: {problem}")
    await connection.execute(SQL["copy_lock"])
    found = await (await connection.execute(SQL["tables_with_rows"])).fetchall()
    if found:
        raise CopyError(f"the target is not empty: it holds {', '.join(name for (name,) in found)}")
    return microseconds(now)


async def _move_sequences(connection: AsyncConnection[Any], source: Source) -> int:
    """Lets new tokens and events begin above those of the source; returns the next token.

    Never back: what the target gave out before is not given again. What a rollback takes back of
    this is taken back whole.
    """
    tokens = await _move_sequence(connection, "claim", "fencing_token", source.next_token())
    await _move_sequence(connection, "claim_event", "event_id", source.next_event())
    return tokens


async def _move_sequence(
    connection: AsyncConnection[Any], table: str, column: str, least: int
) -> int:
    (name,) = await _one(connection, "SELECT pg_get_serial_sequence(%s, %s)", table, column)
    sequence = sql.SQL(name)
    (here,) = await _one(
        connection, sql.SQL("SELECT last_value + is_called::integer FROM {}").format(sequence)
    )
    begin = max(least, int(here))
    await connection.execute(
        sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(sequence, sql.Literal(begin))
    )
    return begin


def _tables(source: Source, server_now_us: int) -> tuple[_Table, ...]:
    return (
        _Table("account", ("account_id", "completed_revision"), source.accounts),
        _Table(
            "liquidation",
            ("liquidation_id", "account_id", "revision", "snapshot", "open_time", "close_time"),
            source.liquidations,
            frozenset({"snapshot"}),
        ),
        _Table(
            "claim",
            (
                "fencing_token", "claim_id", "request_id", "account_id", "liquidation_id",
                "revision", "terms", "positions", "decision", "state", "begin_time",
                "expire_time", "end_time", "end_reason",
            ),
            lambda: source.claims(server_now_us),
            frozenset({"terms", "positions", "decision"}),
        ),
        _Table(
            "claim_event",
            (
                "event_id", "fencing_token", "change", "time", "expire_time", "reason", "forced",
            ),
            source.events,
        ),
    )  # fmt: skip


async def _fill(
    connection: AsyncConnection[Any], table: _Table, counted: Callable[[], None]
) -> int:
    rows = 0
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), _identifiers(table)
    )
    async with connection.cursor() as cursor, cursor.copy(statement) as target:
        for row in table.rows():
            await target.write_row(row)
            rows += 1
            counted()
    return rows


async def _compare(
    connection: AsyncConnection[Any], table: _Table, counted: Callable[[], None]
) -> None:
    """Reads both sides again.

    Raises:
        CopyError: they differ.
    """
    selected = sql.SQL(", ").join(
        sql.SQL("{}::text" if name in table.json else "{}").format(sql.Identifier(name))
        for name in table.columns
    )
    statement = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(selected, sql.Identifier(table.name))
    expected = table.rows()
    async with connection.cursor(name="liquidation_copied") as cursor:
        cursor.itersize = _STRIDE
        await cursor.execute(statement)
        async for row in cursor:
            if _read(table, row) != _read(table, next(expected, ())):
                raise CopyError(f"a row of {table.name} is not what was copied: {row[0]}")
            counted()
    if (row := next(expected, None)) is not None:
        raise CopyError(f"a row of {table.name} was not copied: {row[0]}")


def _read(table: _Table, row: Row) -> list[Any]:
    """A row with its JSON texts read: the server writes them in its own way."""
    return [
        orjson.loads(value) if name in table.json else value
        for name, value in zip(table.columns, row, strict=bool(row))
    ]


def _counting(progress: Progress, done: str) -> Callable[[], None]:
    rows = 0

    def counted() -> None:
        nonlocal rows
        rows += 1
        if rows % _STRIDE == 0:
            progress(done, rows)

    return counted


def _identifiers(table: _Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.columns))


async def _one(
    connection: AsyncConnection[Any], statement: str | sql.Composed, *parameters: object
) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    assert row is not None
    return tuple(row)
