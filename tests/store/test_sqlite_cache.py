"""States that are kept in memory are those in the file, whoever wrote to it.

That anybody has committed is seen in the header of the WAL index, or else SQLite is asked.
"""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from liquidation.rules.model import ClaimState
from liquidation.store.base import StateQuery
from liquidation.store.sqlite import connections as wal_index
from liquidation.store.sqlite import states
from liquidation.store.sqlite import store as sqlite_room
from liquidation.store.sqlite.connections import connect_to_read, find_header, is_settled
from liquidation.store.sqlite.states import StateCache
from tests.clocks import Clock
from tests.store.builders import claimed, snapshot, state_of
from tests.store.stores import AwaitedStore, sqlite_store


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AwaitedStore]:
    """A store that has looked up liquidation 1, and goes by the header."""
    async with sqlite_store(path) as store:
        assert store.store._states._header is not None
        await store.put([snapshot(1)])
        assert await revision(store) == 1
        yield store


async def revision(store: AwaitedStore) -> int:
    found = (await state_of(store)).liquidation
    assert found is not None
    return found.revision


def to(revision: int) -> str:
    """The statement that brings the liquidation to a revision."""
    return (
        f"UPDATE liquidation SET revision = {revision}, snapshot ="
        f" json_set(snapshot, '$.revision', '{revision}')"
    )


def elsewhere(path: Path, *statements: str) -> None:
    """Runs statements in a process of its own, which opens the file and closes it."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]:\n"
        "    connection.execute(statement).fetchall()\n"
        "connection.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), *statements], check=True)


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "pragma"])
@pytest.mark.parametrize("own", [True, False], ids=["own writes", "another's"])
async def test_every_write_is_seen_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, by_header: bool, own: bool
) -> None:
    if not by_header:
        monkeypatch.setattr(sqlite_room, "find_header", lambda _: None)
    async with sqlite_store(path) as store, sqlite_store(path) as other:
        writing = store if own else other
        assert (await state_of(store)).liquidation is None
        for each in (1, 2):
            await writing.put([snapshot(1, each)])
            assert (await state_of(store)).liquidation == snapshot(1, each)
        assert await state_of(store) is await state_of(store)

        claim = await claimed(writing)
        held = (await state_of(store)).active_claim
        assert held is not None
        assert held.claim_id == claim.claim_id
        await writing.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED)
        settled = await state_of(store)
        assert (settled.active_claim, settled.last_completed_revision) == (None, 2)
        await writing.close_liquidation(1)
        assert (await state_of(store)).closed


@pytest.mark.parametrize("how", ["", "RESTART", "TRUNCATE"])
async def test_a_commit_of_another_process_is_seen_whatever_it_does_to_the_log(
    store: AwaitedStore, path: Path, how: str
) -> None:
    log = [f"PRAGMA wal_checkpoint({how})"] if how else []

    elsewhere(path, to(2), *log)
    assert await revision(store) == 2
    elsewhere(path, *log, to(3), *log, to(4), *log)
    assert await revision(store) == 4
    # As many frames as before, at the same place.
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for number in range(5, 8):
            for each in [*log, to(number)]:
                other.execute(each).fetchall()
            assert await revision(store) == number
    assert store.store._states._header is not None


async def test_a_transaction_that_is_rolled_back_changes_nothing(
    store: AwaitedStore, path: Path
) -> None:
    before = await state_of(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute(to(2))
        assert await revision(store) == 1
        other.execute("ROLLBACK")

    assert await state_of(store) is before


async def test_the_index_may_be_removed(store: AwaitedStore, path: Path) -> None:
    """Nobody should; SQLite goes on with what it has mapped, and so does the store."""
    path.with_name("store.db-shm").unlink()

    await store.put([snapshot(1, 2)])

    assert await revision(store) == 2


@pytest.mark.parametrize(
    ("name", "by_header"),
    [("with space  .db", True), ("line\u2028end\x85.db", True), ("new\nline.db", False)],
)
async def test_a_file_is_followed_by_any_name_and_by_a_link(
    tmp_path: Path, name: str, by_header: bool
) -> None:
    path, link = tmp_path / name, tmp_path / "link.db"
    link.symlink_to(path)
    for number in (1, 3):  # opened again it is followed as before
        async with sqlite_store(path) as store, sqlite_store(link) as by_link:
            assert (store.store._states._header is not None) is by_header
            await store.put([snapshot(1, number)])
            assert await revision(by_link) == await revision(store) == number
            await by_link.put([snapshot(1, number + 1)])
            assert await revision(by_link) == await revision(store) == number + 1


class Header:
    """A header that says what it is told to."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


@pytest.mark.parametrize("settled", [True, False], ids=["stays the same", "never settles"])
async def test_a_header_that_hides_commits_is_not_trusted(
    store: AwaitedStore, path: Path, settled: bool
) -> None:
    raw: bytes = store.store._states._header.raw
    cache = StateCache(
        connect_to_read(path), Clock(), Header(raw if settled else raw[:48] + bytes(48))
    )
    try:
        cache.of([StateQuery(1, "nobody")])
        for number in range(2, 5):
            await store.put([snapshot(1, number)])
            cache.of([StateQuery(number, "nobody")])  # SQLite is asked about what is new
            (found,) = cache.of([StateQuery(1, "nobody")])
            assert found.liquidation == snapshot(1, number)
    finally:
        cache.close()


async def test_a_header_that_cannot_be_had_for_certain_is_none(
    store: AwaitedStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.store._states._header is not None
    plain = tmp_path / "plain.db"
    with closing(sqlite3.connect(plain)) as connection:
        connection.execute("CREATE TABLE made (here)")
        assert find_header(plain) is None

    def texts() -> Iterator[str]:
        line = f"7f0000000000-7f0000008000 rw-s 00000000 fe:00 77 {path}-shm\n"
        yield line + line
        yield line.replace("00000000 fe", "00008000 fe")
        yield f"{line[:-1]} (deleted)"

    monkeypatch.setattr(wal_index, "_MAPS", tmp_path / "maps")
    assert find_header(path) is None
    for text in texts():
        (tmp_path / "maps").write_text(text)
        assert find_header(path) is None


def test_a_header_is_settled_if_both_copies_are_one_of_the_known_format() -> None:
    version = (3_007_000).to_bytes(4, sys.byteorder)
    copy = version + bytes(8) + b"\x01" + bytes(35)
    newer = (3_007_001).to_bytes(4, sys.byteorder) + copy[4:]

    assert is_settled(copy * 2)
    assert not is_settled(copy + copy[:20] + b"\x01" + copy[21:])
    assert not is_settled((copy[:12] + b"\x00" + copy[13:]) * 2)
    assert not is_settled(newer * 2)


async def test_what_is_kept_is_bounded_and_read_once(
    store: AwaitedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state counts for itself and for the positions of its snapshot, two each here."""
    monkeypatch.setattr(states, "_MOST_POSITIONS", 9)
    await store.put([snapshot(each) for each in range(2, 7)])
    kept = (await state_of(store)).liquidation

    await store.put([snapshot(2, revision=2)])

    assert (await state_of(store)).liquidation is kept, "a commit about another changes nothing"
    for most in (3, 6, 10):
        found = await store.states([StateQuery(each, "nobody") for each in range(1, most + 1)])
        assert [each.liquidation is not None for each in found] == [n < 6 for n in range(most)]
        assert 0 < store.store._states._size <= 9
    large = snapshot(1, 2, positions=snapshot(1).positions * 5)
    await store.put([large])
    assert (await state_of(store)).liquidation == large
