"""What a move sets on its connection to the target, and for how long."""

from pathlib import Path

import psycopg
import pytest

from liquidation.store.copy import CopyError, copy
from tests.clocks import Clock
from tests.store.moving import fill, moved, trigger
from tests.store.stores import connected, sqlite_store


@pytest.fixture
def clock() -> Clock:
    """The clock of the file's host."""
    return Clock()


async def test_what_is_set_for_the_move_holds_for_the_move_alone(
    path: Path, target: str, clock: Clock
) -> None:
    asked = """
        SELECT current_setting('lock_timeout'), current_setting('DateStyle'),
               current_setting('synchronous_commit'), current_setting('statement_timeout')
    """
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    async with connected(target) as connection:
        await connection.execute("SET lock_timeout = '7s'")
        await connection.execute("SET DateStyle = 'German'")
        await connection.execute("SET synchronous_commit = off")
        await connection.execute("SET statement_timeout = '50s'")
        before = await (await connection.execute(asked)).fetchone()

        await copy(path, connection, clock)

        assert await (await connection.execute(asked)).fetchone() == before


async def test_others_who_hold_a_table_are_waited_for_five_seconds(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    says = "RAISE 'it is %', current_setting('lock_timeout')"
    await trigger(target, "BEFORE INSERT ON claim", says)

    with pytest.raises(psycopg.Error, match="it is 5s"):
        await moved(path, target, clock)


async def test_who_writes_to_the_target_is_not_waited_for_long(
    path: Path, target: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquidation.store.copy._PATIENCE", "20ms")
    async with sqlite_store(path, clock):
        pass
    async with connected(target) as other, other.transaction():
        await other.execute("INSERT INTO account (account_id) VALUES ('account-1')")

        with pytest.raises(CopyError, match=r"^others are at work in the target: stop them first$"):
            await moved(path, target, clock)


async def test_what_the_role_is_set_to_does_not_end_it(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    await trigger(target, "BEFORE INSERT ON claim", "PERFORM pg_sleep(0.01); RETURN NEW")
    async with connected(target) as connection:
        await connection.execute("SET statement_timeout = '40ms'")
        await connection.execute("SET DateStyle = 'German'")
        await connection.execute("SET TimeZone = 'Asia/Kathmandu'")

        copied = await copy(path, connection, clock)

    assert copied.rows["claim"] == 7


@pytest.mark.parametrize(
    ("theirs", "ours"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
async def test_the_commit_is_as_durable_as_those_of_the_service(
    path: Path, target: str, clock: Clock, theirs: str, ours: str
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    await trigger(
        target, "BEFORE INSERT ON claim", "RAISE 'it is %', current_setting('synchronous_commit')"
    )
    async with connected(target) as connection:
        await connection.execute(f"SET synchronous_commit = {theirs}")

        with pytest.raises(psycopg.Error, match=f"it is {ours}"):
            await copy(path, connection, clock)
