"""Transactions on PostgreSQL that end in time, whatever becomes of the server or the network.

A connection is used by transactions alone and keeps no state between them, so that a pooler such as
PgBouncer may hand the next one to another session. What is asked for at once travels at once.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import orjson
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from liquidation.store.base import SchemaError, StoreError, StoreUnavailableError
from liquidation.store.postgres import SQL, schema
from liquidation.store.postgres.batches import ContendedError
from liquidation.store.postgres.connection import (
    PARAMETERS,
    Connection,
    Transaction,
    cut_off,
    describe,
    limits_of,
    reporting,
    require_utf8,
)
from liquidation.store.postgres.schema import SchemaState

_T = TypeVar("_T")

# How long the pool goes on by itself to connect, in seconds. Then whoever asks next makes it try at
# once, and health asks twice a second; left to itself it would wait ever longer.
_RECONNECT_S: Final = 0.5
# The pause before a transaction is tried again, in seconds; drawn, so that two get out of step.
_PAUSE_S: Final = (0.005, 0.02)
# And before one is tried on a new connection because the server takes no writes.
_LEFT_PAUSE_S: Final = (0.1, 0.2)
# How long a transaction waits for what others hold, as a part of the time that it has: one whose
# caller asks again in another way gives up soon.
_PATIENT: Final = 0.6
_IMPATIENT: Final = 0.2

# Statements are prepared when they come for the second time, which halves the time of a claim that
# comes alone (p50 2.6 ms in place of 5.1): the server plans them no more. What is prepared
# belongs to a session, so this is for connections without a pooler in between.
_PREPARED_FROM: Final = 1
# Errors of a statement that was prepared in another session, or is prepared already.
_NOT_PREPARED: Final = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)

# The server asks for another try: nothing of this one was kept.
_TRY_AGAIN: Final = (errors.SerializationFailure, errors.DeadlockDetected)
# It takes no writes: a standby, or a primary that is to become one or to be moved. Or what is
# prepared there does not fit its tables any more. A new connection may find another.
_LEFT: Final = (errors.ReadOnlySqlTransaction, errors.FeatureNotSupported)

_IN_DOUBT: Final = "; it may have been committed"


class Database:
    """A PostgreSQL database, which may come and go: only `run` raises for it."""

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        """Uses up to `connections` at once, and takes `timeout_s` at most for each `run`.

        Raises:
            StoreError: `url` is not one that libpq takes.
        """
        try:
            parameters = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # Its text may repeat the password.
            raise StoreError("the URL of the PostgreSQL database is not a sound one") from None
        given = {name: value for name, value in PARAMETERS.items() if name not in parameters}
        self._timeout_s = timeout_s
        self._limits = {
            patient: limits_of(timeout_s, timeout_s * (_PATIENT if patient else _IMPATIENT))
            for patient in (True, False)
        }
        # Whether statements may be prepared: only on connections to the server itself.
        self._prepares = True
        # Why it could not be connected to; "" if it could.
        self._problem = "it has not answered yet"
        self._under_way: set[asyncio.Task[Any]] = set()
        self._pool = AsyncConnectionPool(
            url,
            connection_class=reporting(self._failed),
            kwargs={"autocommit": True, "prepare_threshold": None} | given,
            min_size=min(2, connections),
            max_size=connections,
            configure=self._make_ready,
            reconnect_timeout=_RECONNECT_S,
            open=False,
        )

    async def open(self) -> None:
        """Begins to connect, and waits for nothing."""
        await self._pool.open()

    async def aclose(self) -> None:
        """Waits for what is under way, which ends in its time, and closes every connection."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._pool.close()

    async def run(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        repeatable: bool = True,
        patient: bool = True,
    ) -> _T:
        """What `work` returns of a transaction, which it commits, or else is rolled back.

        `work` may be called more than once, each time with a new transaction. If the connection
        broke before an answer to COMMIT came, only if it is `repeatable`: if doing it again gives
        the right answer whether or not it was done. One that is not `patient` waits for others for
        a fifth of its time only.

        Raises:
            ContendedError: others were in the way for too long.
            StoreUnavailableError: there was no answer in time, or none that can be trusted.
        """
        limits = self._limits[patient]
        task = asyncio.create_task(self._run(work, limits, repeatable=repeatable))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        # psycopg would ask the server to cancel, and wait for that: it is never cancelled.
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # If the caller is gone, nobody is left to look at it.
            task.exception()

    async def _run(
        self, work: Callable[[Transaction], Awaitable[_T]], limits: str, *, repeatable: bool
    ) -> _T:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_s
        before = ""
        while True:
            transaction = None
            try:
                async with self._transaction(until, limits) as transaction:
                    return await work(transaction)
            except PoolTimeout as error:
                why = before or self._problem or "all connections are in use"
                message = f"no connection within {self._timeout_s:g} s: {why}"
                raise StoreUnavailableError(message) from error
            except errors.LockNotAvailable as error:
                raise ContendedError("others held the account for too long") from error
            except psycopg.Error as error:
                message = self._why(error, transaction, before, late=loop.time() >= until)
                again = await self._again(error, transaction, repeatable=repeatable)
                pause_s = _drawn(_LEFT_PAUSE_S if isinstance(error, _LEFT) else _PAUSE_S)
                if not again or loop.time() + pause_s >= until:
                    raise StoreUnavailableError(message) from error
                before = message
            await asyncio.sleep(pause_s)

    async def _again(
        self, error: psycopg.Error, transaction: Transaction | None, *, repeatable: bool
    ) -> bool:
        if isinstance(error, _NOT_PREPARED):
            # A pooler that did not show.
            self._prepares = False
            await self._pool.drain()
            return True
        if isinstance(error, _TRY_AGAIN):
            return True
        if transaction is None or not transaction.lost:
            return False
        return repeatable or not transaction.in_doubt

    def _why(
        self, error: psycopg.Error, transaction: Transaction | None, before: str, *, late: bool
    ) -> str:
        """Why a transaction failed; of one that was cut off, what had happened `before`."""
        message = describe(error)
        if late and transaction is not None and transaction.lost:
            message = f"no answer within {self._timeout_s:g} s{before and f', before: {before}'}"
        in_doubt = transaction is not None and transaction.in_doubt
        return f"{message}{_IN_DOUBT}" if in_doubt and _IN_DOUBT not in message else message

    @asynccontextmanager
    async def _transaction(self, until: float, limits: str) -> AsyncIterator[Transaction]:
        """A transaction on a connection that is cut off if it is not given back in time."""
        loop = asyncio.get_running_loop()
        connection = await self._pool.getconn(max(until - loop.time(), 0.001))
        transaction = Transaction(connection, limits)
        try:
            with cut_off(connection, until):
                try:
                    yield transaction
                finally:
                    await transaction.aclose()
        except _LEFT:
            await connection.close()
            transaction.lost = True
            raise
        finally:
            await self._pool.putconn(connection)

    async def probe(self) -> None:
        """Returns if the primary answers and has a schema that this service can work on.

        Raises:
            StoreUnavailableError: it does not.
        """
        state, _ = await self.run(_state)
        if problem := state.problem():
            # The connections that are open were opened before it changed.
            await self._pool.drain()
            raise StoreUnavailableError(problem)

    async def _make_ready(self, connection: Connection) -> None:
        set_json_loads(orjson.loads, connection)
        try:
            require_utf8(connection)
            state, pid = await self._looked(connection)
            if state.version < schema.NEWEST:
                # A schema is made in as much time as it takes.
                await schema.require(connection)
                state, pid = await self._looked(connection)
            if problem := state.problem():
                raise SchemaError(problem)
        except (SchemaError, psycopg.Error) as error:
            self._failed(error)
            await connection.close()
            raise
        # A pooler, which hands sessions around, makes up the process id that a client cancels by.
        if self._prepares and pid == connection.pgconn.backend_pid:
            connection.prepare_threshold = _PREPARED_FROM
        self._problem = ""

    async def _looked(self, connection: Connection) -> tuple[SchemaState, int | None]:
        until = asyncio.get_running_loop().time() + self._timeout_s
        transaction = Transaction(connection, self._limits[True])
        with cut_off(connection, until):
            try:
                return await _state(transaction)
            finally:
                await transaction.aclose()

    def _failed(self, error: Exception) -> None:
        self._problem = describe(error) if isinstance(error, psycopg.Error) else str(error)


def _drawn(between: tuple[float, float]) -> float:
    return random.uniform(*between)  # noqa: S311 - nothing secret hangs on it


async def _state(transaction: Transaction) -> tuple[SchemaState, int | None]:
    """The schema that is found, and the process that looked, as the server knows it."""
    try:
        rows, ((pid,),) = await transaction.ask(
            (SQL["schema_state"], {}), ("SELECT pg_backend_pid()", {}), commit=True
        )
    except errors.UndefinedTable:
        return SchemaState(), None
    return SchemaState(*(rows[0] if rows else ())), pid
