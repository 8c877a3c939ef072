"""Connections to PostgreSQL: how they are made, what bounds them, and their sudden end.

Nothing here is waited for longer than its caller says, whatever becomes of the other side.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from liquidation.store.base import SchemaError
from liquidation.store.postgres.transaction import Connection

__all__ = ["PARAMETERS", "cut_off", "limits_of", "require_utf8", "telling", "told_of"]

# Where the URL does not say otherwise. A connection ends when what was sent is not acknowledged for
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

# The driver and its pool tell each attempt that failed to whoever listens, and else standard error;
# the decision log and the commands tell it once.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


def limits_of(timeout_s: float, lock_s: float) -> str:
    """The statement that bounds a transaction of `timeout_s` on the side of the server.

    It waits for a lock for `lock_s` at most. A client that hangs or is cut off in the middle loses
    its locks before those who wait for them give up. A weaker `synchronous_commit` than "on" would
    lose claims that were acknowledged. No statement here reads a whole table, or is worth a
    compilation. Where nothing may be written, the update that never happens is refused: nothing is
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
    """Returns where the database can hold every text that a caller may send.

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


def telling(failed: Callable[[psycopg.Error], None]) -> type[Connection]:
    """A connection that tells why it could not be made; the pool only says that it was not."""

    class Telling(AsyncConnection[tuple[Any, ...]]):
        @classmethod
        async def connect(cls, *told: Any, **more: Any) -> Any:
            try:
                return await super().connect(*told, **more)
            except psycopg.Error as error:
                failed(error)
                raise

    return Telling


def told_of(error: psycopg.Error) -> str:
    """What happened, in one line; the server's details are left out, since they hold values."""
    text = error.diag.message_primary or str(error).partition("\n")[0]
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return f"{text}{code}"
