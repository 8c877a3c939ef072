"""Connections to PostgreSQL: what bounds them, what is told of them, and their sudden end."""

import asyncio
import logging
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from liquidation.store.postgres.connection import PARAMETERS, cut_off, limits_of, telling, told_of
from tests.store.moving import connected, set_up
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import at_port

_ASKED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
# A server that nobody listens as: port 1 is reserved.
_NOBODY = "postgresql://127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    ("timeout_s", "lock_s", "bounds"),
    [
        (2.0, 0.5, ("2s", "500ms", "800ms")),
        (10.0, 1.5, ("10s", "1500ms", "4s")),
    ],
)
async def test_a_transaction_is_bounded_in_time_on_the_side_of_the_server(
    postgres_database: str, timeout_s: float, lock_s: float, bounds: tuple[str, ...]
) -> None:
    await set_up(postgres_database)
    async with connected(postgres_database) as connection:
        async with connection.transaction():
            await connection.execute(limits_of(timeout_s, lock_s))
            set_to = tuple([await _setting(connection, name) for name in _ASKED])
            assert await _setting(connection, "enable_seqscan") == "off"
            assert await _setting(connection, "jit") == "off"
            assert (await _setting(connection, "DateStyle")).startswith("ISO")
        after = [await _setting(connection, name) for name in _ASKED]

    assert set_to == bounds
    assert after == ["0", "0", "0"], "it holds for the transaction alone"


@pytest.mark.parametrize(
    ("timeout_s", "lock_s", "bounds"),
    [
        # PostgreSQL takes 0 for no bound at all.
        (0.0004, 0.0001, (1, 1, 1)),
        (0.0026, 0.0015, (3, 2, 1)),
    ],
)
def test_a_bound_is_in_whole_milliseconds_and_never_none(
    timeout_s: float, lock_s: float, bounds: tuple[int, ...]
) -> None:
    statement = limits_of(timeout_s, lock_s)

    for name, bound in zip(_ASKED, bounds, strict=True):
        assert f"set_config('{name}', '{bound}', true)" in statement


async def _setting(connection: AsyncConnection[Any], name: str) -> str:
    row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
    assert row is not None
    return str(row[0])


async def test_where_a_url_does_not_say_otherwise_a_dead_host_is_found_out_in_seconds() -> None:
    assert PARAMETERS == {
        "fallback_application_name": "liquidation",
        "client_encoding": "UTF8",
        "connect_timeout": 2,
        "tcp_user_timeout": 4000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
    }


async def test_a_connection_ends_at_its_time_whatever_it_waits_for(postgres_database: str) -> None:
    async with connected(postgres_database) as connection:
        now = asyncio.get_running_loop().time()
        with cut_off(connection, now), pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT pg_sleep(60)")

        assert connection.closed


async def test_a_block_that_ends_in_time_leaves_its_connection(postgres_database: str) -> None:
    async with connected(postgres_database) as connection:
        loop = asyncio.get_running_loop()
        when = loop.time() + 0.01
        with cut_off(connection, when):
            pass
        later = loop.create_future()
        loop.call_at(when + 0.001, later.set_result, None)
        await later

        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_connection_that_is_closed_already_is_cut_off_without_a_word(
    postgres_database: str,
) -> None:
    noise: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: noise.append(context))
    async with connected(postgres_database) as connection:
        await connection.close()
        with cut_off(connection, loop.time()):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert noise == []


async def test_a_connection_whose_other_side_is_gone_is_cut_off_without_a_word(
    postgres_database: str,
) -> None:
    noise: list[str] = []
    loop = asyncio.get_running_loop()
    port = int(str(psycopg.conninfo.conninfo_to_dict(postgres_database)["port"]))
    async with (
        Proxy("127.0.0.1", port) as proxy,
        connected(at_port(postgres_database, proxy.port)) as connection,
    ):
        gone = asyncio.Event()
        loop.add_reader(connection.fileno(), gone.set)
        proxy.cut()
        await gone.wait()
        loop.remove_reader(connection.fileno())

        loop.set_exception_handler(lambda _, context: noise.append(context["message"]))
        with cut_off(connection, loop.time()):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    # The proxy's own ends are noisy.
    assert [each for each in noise if "_cut" in each] == []


async def test_why_a_connection_could_not_be_made_is_told() -> None:
    told: list[psycopg.Error] = []

    with pytest.raises(psycopg.OperationalError) as failed:
        await telling(told.append).connect(_NOBODY)

    assert told == [failed.value]


async def test_what_happened_is_told_in_one_line_without_the_values_in_its_details(
    postgres_database: str,
) -> None:
    async with connected(postgres_database) as connection:
        await connection.execute("CREATE TEMPORARY TABLE one (secret text UNIQUE)")
        await connection.execute("INSERT INTO one VALUES ('secret')")
        with pytest.raises(psycopg.errors.UniqueViolation) as violated:
            await connection.execute("INSERT INTO one VALUES ('secret')")

    assert "secret)=(secret" in str(violated.value)
    assert told_of(violated.value) == (
        'duplicate key value violates unique constraint "one_secret_key" (23505)'
    )


def test_what_no_server_said_is_told_by_its_first_line() -> None:
    error = psycopg.OperationalError("the connection is lost\nand more\nand more")

    assert told_of(error) == "the connection is lost"


def test_the_driver_says_nothing_of_its_own_where_nobody_listens() -> None:
    handlers = logging.getLogger("psycopg").handlers

    assert [type(each) for each in handlers] == [logging.NullHandler]
