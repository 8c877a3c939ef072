"""How a file stands, as it is told to those who look after it; looking changes nothing."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import StoreStats
from liquidation.store.records import moment
from liquidation.store.sqlite.schema import NEWEST, FileStatus, look, version_at
from tests.clocks import Clock
from tests.store.builders import LEASE_S, begin, begin_request, granted, snapshot
from tests.store.stores import sqlite_store


async def filled(path: Path, clock: Clock) -> int:
    """Makes a file with some of each; the microsecond at which the first claim ended."""
    store = sqlite_store(path, clock)
    try:
        claims = []
        for number in range(1, 6):
            brought = snapshot(number, account_id=f"account-{number}")
            lease_s = 10 if number == 3 else LEASE_S
            claims.append(granted(await begin(store, begin_request(None, brought, 1, lease_s))))
        await store.put([snapshot(6)])
        await store.close_liquidation(6)
        first, second, *_ = claims
        clock.advance(1)
        ended_us = clock.wall_us()
        await store.end(first.claim_id, None, ClaimState.COMPLETED, "")
        clock.advance(1)
        await store.end(second.claim_id, None, ClaimState.CANCELLED, "why")
        clock.advance(8)
        return ended_us
    finally:
        await store.aclose()


def names_in(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


async def test_a_file_is_told_with_its_size_and_what_it_holds(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", Clock()
    ended_us = await filled(path, clock)
    there = names_in(tmp_path)

    found = look(path, clock)

    assert found == FileStatus(
        exists=True,
        writable=True,
        version=NEWEST,
        size=path.stat().st_size,
        log_size=0,
        holds=StoreStats(5, 1, 2, 1, 1, 1, 0, moment(ended_us)),
    )
    assert (found.problems, found.notes, found.migrates) == ((), (), False)
    assert names_in(tmp_path) == there


async def test_a_lease_is_overdue_from_the_moment_of_its_end(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", Clock()
    await filled(path, clock)
    clock.advance(LEASE_S - 10)

    holds = look(path, clock).holds

    assert holds is not None
    assert (holds.active, holds.overdue) == (0, 3)


async def test_the_write_ahead_log_of_a_file_in_use_is_told_too(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", Clock()
    store = sqlite_store(path, clock)
    try:
        await store.put([snapshot(1)])

        found = look(path, clock)

        assert found.log_size == path.with_name("store.db-wal").stat().st_size > 0
        assert found.holds == StoreStats(1, 0, 0, 0, 0, 0, 0, None)
    finally:
        await store.aclose()


def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    found = look(tmp_path / "none.db", Clock())

    assert found == FileStatus(exists=False, writable=True, version=0)
    assert (found.problems, found.migrates) == ((), True)
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_or_written_that_is_the_problem(tmp_path: Path) -> None:
    nowhere = look(tmp_path / "missing" / "none.db", Clock())
    assert nowhere.problems == ("it is not there, and this user may not make it",)

    assert replace(nowhere, exists=True).problems == ("this user may not write to it",)


def test_a_file_of_a_newer_version_is_told_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")

    found = look(path, Clock())

    assert (found.version, found.holds, found.migrates) == (NEWEST + 1, None, False)
    (problem,) = found.problems
    assert problem == (
        f"it has schema version {NEWEST + 1}, this service knows {NEWEST}: "
        "it was written by a newer version"
    )


def test_a_file_with_tables_of_another_program_has_no_version(tmp_path: Path) -> None:
    empty, theirs = tmp_path / "empty.db", tmp_path / "theirs.db"
    for path, statement in ((empty, "VACUUM"), (theirs, "CREATE TABLE note (text)")):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)

    assert (version_at(empty), version_at(theirs)) == (0, None)
    assert look(theirs, Clock()).version == 0
    with pytest.raises(sqlite3.Error):
        version_at(tmp_path / "none.db")
