"""One transaction on PostgreSQL: what its end is worth, and what is left of it."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, Final, LiteralString, cast

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from liquidation.store.postgres.connection import (
    HARMLESS,
    Connection,
    Statement,
    Transaction,
    limits_of,
    warnings_of,
)
from tests.store.stores import connected, rows, set_up

ONE: Final[Statement] = ("SELECT 1", {})
DIES: Final[Statement] = ("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)", {})
# The transaction is over then, and COMMIT finds none: the server warns of that.
END: Final[Statement] = ("ROLLBACK", {})
NO_TRANSACTION: Final = "there is no transaction in progress"


@pytest.fixture
async def connection(postgres_database: str) -> AsyncIterator[Connection]:
    await set_up(postgres_database)
    async with connected(postgres_database) as connection:
        yield connection


def begun(connection: Connection) -> Transaction:
    return Transaction(connection, limits_of(5, 1))


async def test_nothing_is_in_doubt_but_a_commit_that_was_not_answered(
    connection: Connection,
) -> None:
    transaction = begun(connection)
    assert (transaction.in_doubt, transaction.lost) == (False, False)

    assert await transaction.ask(ONE) == [[(1,)]]
    assert not transaction.in_doubt
    assert await transaction.ask(ONE, commit=True) == [[(1,)]]

    assert (transaction.in_doubt, transaction.lost) == (False, False)


async def test_a_commit_that_the_server_warns_of_is_in_doubt_and_tells_the_warning(
    connection: Connection,
) -> None:
    transaction = begun(connection)

    with pytest.raises(psycopg.OperationalError) as raised:
        await transaction.ask(END, commit=True)

    assert str(raised.value) == NO_TRANSACTION
    assert (transaction.in_doubt, transaction.lost) == (True, False)


async def test_a_session_that_the_server_ends_is_lost_before_the_end_of_its_connection_is_read(
    postgres_database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of the two comes first is left to the network: what it said is handed on here."""
    async with connected(postgres_database) as other:
        with pytest.raises(psycopg.errors.AdminShutdown) as said:
            await other.execute(*DIES)
    execute = connection.execute

    async def saying_so(query: LiteralString, *parameters: Any) -> Any:
        if query == "COMMIT":
            raise said.value
        return await execute(query, *parameters)

    monkeypatch.setattr(connection, "execute", saying_so)
    transaction = begun(connection)
    with pytest.raises(psycopg.errors.AdminShutdown):
        await transaction.ask(ONE, commit=True)

    assert (transaction.in_doubt, transaction.lost) == (True, True)
    assert connection.closed


async def test_what_the_server_merely_notes_is_no_warning_of_the_commit(
    connection: Connection,
) -> None:
    transaction = begun(connection)

    await transaction.ask(("DROP TABLE IF EXISTS no_such_table", {}), commit=True)

    assert not transaction.in_doubt


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("GetNewTransactionId", []),
        ("GetNewMultiXactId", []),
        ("exec_stmt_raise", []),
        ("SyncRepWaitForLSN", ["it is said"]),
    ],
)
def test_that_ids_run_short_and_what_a_trigger_says_is_no_warning_of_the_commit(
    function: str, told: list[str]
) -> None:
    """A server says so of its ids after two thousand million of them: it is said for it here."""
    handlers: list[Callable[[Any], None]] = []
    quiet = SimpleNamespace(
        add_notice_handler=handlers.append, remove_notice_handler=handlers.remove
    )

    with warnings_of(cast(Connection, quiet), HARMLESS) as found:
        handlers[0](
            SimpleNamespace(
                severity_nonlocalized="WARNING",
                source_function=function,
                message_primary="it is said",
            )
        )

    assert found == told
    assert handlers == []


async def test_what_is_open_on_a_connection_that_is_gone_is_left_without_a_word(
    connection: Connection, postgres_database: str
) -> None:
    transaction = begun(connection)
    await connection.execute("BEGIN")
    pid = connection.info.backend_pid
    await rows(postgres_database, "SELECT pg_terminate_backend(%s, 5000)", pid)
    assert connection.pgconn.transaction_status == TransactionStatus.INTRANS

    await transaction.aclose()

    assert connection.closed
