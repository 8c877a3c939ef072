"""Connections to PostgreSQL: how they are made, what bounds them, and their sudden end.

Nothing here is waited for longer than its caller says, whatever becomes of the other side.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, AsyncPipeline, errors, generators
from psycopg.pq import TransactionStatus

from liquidation.store.base import SchemaError

Statement = tuple[str, Mapping[str, Any]]
Rows = list[tuple[Any, ...]]
Connection = AsyncConnection[tuple[Any, ...]]

# A transaction that was left open.
_OPEN: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR)

# It may write if the server lets it: what says that it takes no writes is not overruled.
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

# Warnings that are not about the commit, by the function of the server that gives them: that ids
# of transactions run short, said with each until it has vacuumed; and what a trigger says.
HARMLESS: Final = frozenset({"GetNewTransactionId", "GetNewMultiXactId", "exec_stmt_raise"})

# What a server says as it ends the session; the end of the connection may arrive any time later.
_LAST_WORDS: Final = ("FATAL", "PANIC")


class Transaction:
    """One transaction. It ends with the `ask` that commits, or is rolled back.

    `in_doubt` is True if COMMIT was sent without a trustworthy answer, `lost` if the connection is
    gone.
    """

    def __init__(self, connection: Connection, limits: str) -> None:
        self._connection = connection
        self._limits = limits
        # Left only with the commit: psycopg asks for a flush as it leaves, and a server that is
        # asked for anything once it is idle in a transaction no longer counts how long it is.
        self._pipeline: AsyncPipeline | None = None
        self._left = AsyncExitStack()
        self.in_doubt = False
        self.lost = False

    async def ask(self, *statements: Statement, commit: bool = False) -> list[Rows]:
        """The rows of each statement, all in one round trip; `commit` ends the transaction in it.

        Raises:
            psycopg.Error: one of them failed, and none after it was done.
        """
        self.in_doubt = commit
        with warnings_of(self._connection, HARMLESS) as warnings:
            try:
                cursors = await self._sent(statements, commit=commit)
            except psycopg.Error as error:
                if error.diag.severity_nonlocalized in _LAST_WORDS:
                    await self._connection.close()
                # A server that says what failed has not committed; one that is gone may have.
                self.lost = self._connection.closed
                self.in_doubt = commit and self.lost
                raise
        if commit and warnings:
            raise psycopg.OperationalError(warnings[0])
        self.in_doubt = False
        return [await _rows(each) for each in cursors]

    async def roll_back(self) -> None:
        """Takes everything back; the next `ask` begins anew."""
        await self._connection.execute("ROLLBACK")
        await self._leave()

    async def aclose(self) -> None:
        """Takes back what was not committed, as far as the connection lets it."""
        with suppress(psycopg.Error):
            await self._leave()
        if self._connection.pgconn.transaction_status in _OPEN:
            with suppress(psycopg.Error):
                await self._connection.rollback()

    async def _sent(
        self, statements: tuple[Statement, ...], *, commit: bool
    ) -> list[psycopg.AsyncCursor[tuple[Any, ...]]]:
        if self._pipeline is None:
            self._pipeline = await self._left.enter_async_context(self._connection.pipeline())
            await self._connection.execute(_BEGIN)
            await self._connection.execute(self._limits)
        cursors = [await self._connection.execute(*each) for each in statements]
        if commit:
            # One that is cancelled while it waits for the standby succeeds, with no more than a
            # warning. The server lets no statement_timeout do that.
            await self._connection.execute("COMMIT")
            await self._leave()
        else:
            # psycopg waits for the answers even with some of a large question unsent yet, for which
            # the server waits.
            await self._connection.wait(generators.send(self._connection.pgconn))
            await self._pipeline.sync()
        return cursors

    async def _leave(self) -> None:
        """Leaves the pipeline, which brings all answers that are left."""
        self._pipeline = None
        await self._left.aclose()


async def _rows(cursor: psycopg.AsyncCursor[tuple[Any, ...]]) -> Rows:
    has_rows = cursor.pgresult is not None and cursor.pgresult.nfields > 0
    return await cursor.fetchall() if has_rows else []


@contextmanager
def warnings_of(
    connection: AsyncConnection[Any], ignored: Container[str | None] = ()
) -> Iterator[list[str]]:
    """Collects what the server warns of in the block, but for what its functions `ignored` say."""
    found: list[str] = []

    def notice(diagnostic: errors.Diagnostic) -> None:
        warns = diagnostic.severity_nonlocalized == "WARNING"
        if warns and diagnostic.source_function not in ignored:
            found.append(diagnostic.message_primary or "")

    connection.add_notice_handler(notice)
    try:
        yield found
    finally:
        connection.remove_notice_handler(notice)


# Unless the URL says otherwise. A connection ends when what was sent is not acknowledged for
# `tcp_user_timeout` ms, or the host behind it answers no probe.
PARAMETERS: Final = {
    "fallback_application_name": "liquidation",
    "client_encoding": "UTF8",
    "connect_timeout": 2,
    "tcp_user_timeout": 4000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}

# The driver and its pool log each failed attempt, to standard error if nothing else listens; the
# decision log and the commands report it once.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


def limits_of(timeout_s: float, lock_s: float) -> str:
    """The statement that bounds a transaction of `timeout_s` on the side of the server.

    It waits for a lock for `lock_s` at most. A client that hangs or is cut off in the middle loses
    its locks before those who wait for them give up. A weaker `synchronous_commit` than "on" would
    lose claims that were acknowledged. No statement here reads a whole table, or is worth a
    compilation. If nothing may be written, the update that never happens is rejected: nothing is
    read there either.
    """
    milliseconds = {
        "statement_timeout": timeout_s,
        "lock_timeout": lock_s,
        "idle_in_transaction_session_timeout": 0.4 * timeout_s,
    }
    bounds = (
        f"set_config('{name}', '{max(round(1000 * span), 1)}', true)"
        for name, span in milliseconds.items()
    )
    return f"""
        WITH writes AS (UPDATE account SET completed_revision = 0 WHERE false)
        SELECT {", ".join(bounds)}, set_config('enable_seqscan', 'off', true),
               set_config('jit', 'off', true), set_config('DateStyle', 'ISO', true),
               set_config('synchronous_commit',
                          CASE WHEN current_setting('synchronous_commit') = 'remote_apply'
                               THEN 'remote_apply' ELSE 'on' END, true)
    """


def require_utf8(connection: Connection) -> None:
    """Returns if the database can hold every text that a caller may send.

    Raises:
        SchemaError: it cannot, and would refuse a whole group for one of them.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):  # None: something that only speaks the protocol
        raise SchemaError(f"the database has the encoding {encoding}, and must have UTF8")


@contextmanager
def cut_off(connection: Connection, when: float) -> Iterator[None]:
    """At `when`, on the clock of the loop, the connection ends, unless the block did before.

    Whoever waits for an answer on it gets an error. Cancelled, psycopg would ask the server to
    cancel too, and wait for that.
    """
    cutting = asyncio.get_running_loop().call_at(when, _cut, connection)
    try:
        yield
    finally:
        cutting.cancel()


def _cut(connection: Connection) -> None:
    # A copy of the descriptor: the connection closes its own.
    with (
        suppress(psycopg.Error, OSError),
        closing(socket.socket(fileno=os.dup(connection.pgconn.socket))) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)


def reporting(failed: Callable[[psycopg.Error], None]) -> type[Connection]:
    """A connection that reports why it could not be made; the pool only says that it was not."""

    class Reporting(AsyncConnection[tuple[Any, ...]]):
        @classmethod
        async def connect(cls, *positional: Any, **more: Any) -> Any:
            try:
                return await super().connect(*positional, **more)
            except psycopg.Error as error:
                failed(error)
                raise

    return Reporting


def describe(error: psycopg.Error) -> str:
    """What happened, in one line; the server's details are left out, since they hold values."""
    text = error.diag.message_primary or str(error).partition("\n")[0]
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return f"{text}{code}"
