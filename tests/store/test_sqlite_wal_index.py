"""A commit of anybody is seen in the header of the WAL index, whatever becomes of the log."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from liquidation.store.base import StateQuery
from liquidation.store.sqlite import connections as wal_index
from liquidation.store.sqlite.connections import connect_to_read, find_header, is_settled
from liquidation.store.sqlite.states import StateCache
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore, awaited_sqlite
from tests.store.snapshots import snapshot

QUERY = StateQuery(1, "liquidator-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AwaitedStore]:
    """A store that knows a liquidation, and has looked it up."""
    store = awaited_sqlite(path, Clock())
    await store.put([snapshot(1)])
    assert await revision(store) == 1
    yield store
    await store.aclose()


async def revision(store: AwaitedStore) -> int:
    (found,) = await store.states([QUERY])
    assert found.liquidation is not None
    return found.liquidation.revision


def elsewhere(path: Path, *statements: str) -> None:
    """Lets a process of its own, which opens the file and closes it, run statements."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]:\n"
        "    connection.execute(statement).fetchall()\n"
        "connection.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), *statements], check=True)


def to(revision: int) -> str:
    """The statement that brings the liquidation to a revision."""
    return (
        f"UPDATE liquidation SET revision = {revision}, snapshot ="
        f" json_set(snapshot, '$.revision', '{revision}')"
    )


@pytest.mark.parametrize(
    "log",
    [
        [],
        ["PRAGMA wal_checkpoint(PASSIVE)"],
        ["PRAGMA wal_checkpoint(FULL)"],
        ["PRAGMA wal_checkpoint(RESTART)"],
        ["PRAGMA wal_checkpoint(TRUNCATE)"],
    ],
    ids=["untouched", "passive", "full", "restart", "truncate"],
)
async def test_a_commit_of_another_process_is_seen_whatever_it_does_to_the_log(
    store: AwaitedStore, path: Path, log: list[str]
) -> None:
    assert store.store._states._header is not None

    elsewhere(path, to(2), *log)
    assert await revision(store) == 2
    elsewhere(path, *log, to(3))
    assert await revision(store) == 3
    elsewhere(path, *log, to(4), *log, to(5), *log)

    assert await revision(store) == 5
    assert store.store._states._header is not None


async def test_a_log_that_begins_anew_hides_no_commit(store: AwaitedStore, path: Path) -> None:
    """As many frames as before, at the same place, after a checkpoint of this process."""
    other = sqlite3.connect(path, isolation_level=None)
    for number in range(2, 8):
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.execute(to(number))
        assert await revision(store) == number
    other.close()


async def test_a_transaction_that_is_taken_back_changes_nothing(
    store: AwaitedStore, path: Path
) -> None:
    (before,) = await store.states([QUERY])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute(to(2))

    assert await revision(store) == 1
    other.execute("ROLLBACK")
    other.close()

    (after,) = await store.states([QUERY])
    assert after is before


async def test_closed_and_opened_again_the_file_is_followed_as_before(path: Path) -> None:
    for number in range(1, 4):
        store = awaited_sqlite(path, Clock())
        await store.put([snapshot(1, number)])
        assert await revision(store) == number
        elsewhere(path, to(10 * number))
        assert await revision(store) == 10 * number
        elsewhere(path, to(number))
        await store.aclose()
        assert not path.with_name("store.db-shm").exists()


async def test_a_file_by_another_name_is_followed_too(store: AwaitedStore, path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    by_link = awaited_sqlite(link, Clock())
    try:
        assert by_link.store._states._header is not None
        assert await revision(by_link) == 1
        await store.put([snapshot(1, 2)])
        assert await revision(by_link) == 2
    finally:
        await by_link.aclose()


async def test_the_index_may_be_removed_and_the_file_is_read_as_sqlite_reads_it(
    store: AwaitedStore, path: Path
) -> None:
    """Nobody should; SQLite goes on with what it has mapped, and so does the store."""
    path.with_name("store.db-shm").unlink()

    await store.put([snapshot(1, 2)])

    assert await revision(store) == 2


def test_without_a_log_there_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE made (here)")
        assert find_header(path) is None
    connection.close()
    assert find_header(path) is None


async def test_where_the_system_does_not_tell_what_is_mapped_there_is_no_header(
    store: AwaitedStore, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert store is not None
    assert find_header(path) is not None

    monkeypatch.setattr(wal_index, "_MAPS", tmp_path / "missing")
    assert find_header(path) is None

    index = f"{path}-shm"
    twice = tmp_path / "maps"
    line = f"7f0000000000-7f0000008000 rw-s 00000000 fe:00 77 {index}\n"
    monkeypatch.setattr(wal_index, "_MAPS", twice)
    for told in (line + line, line.replace("00000000 fe", "00008000 fe"), f"{line[:-1]} (deleted)"):
        twice.write_text(told)
        assert find_header(path) is None


async def test_a_name_with_whatever_in_it_is_found_and_keeps_no_other_from_being_found(
    tmp_path: Path,
) -> None:
    named = {}
    for name in ("with space  .db", "line\u2028end\x85.db", "new\nline.db", "plain.db"):
        named[name] = awaited_sqlite(tmp_path / name, Clock())
    for store in named.values():
        for number in (1, 2):
            await store.put([snapshot(1, number)])
            assert await revision(store) == number
    followed = {name for name, store in named.items() if store.store._states._header is not None}
    for store in named.values():
        await store.aclose()

    assert followed == named.keys() - {"new\nline.db"}


def test_a_header_that_is_being_written_or_is_not_of_the_format_is_none_to_go_by() -> None:
    copy = bytearray(48)
    copy[0:4] = (3_007_000).to_bytes(4, sys.byteorder)
    copy[12] = 1
    settled = bytes(copy)
    changed = settled[:20] + b"\x01" + settled[21:]
    unfinished = settled[:12] + b"\x00" + settled[13:]
    newer = (3_007_001).to_bytes(4, sys.byteorder) + settled[4:]

    assert is_settled(settled * 2)
    assert not is_settled(settled + changed)
    assert not is_settled(unfinished * 2)
    assert not is_settled(newer * 2)


class Told:
    """A header that says what it is told to."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


@pytest.fixture
def header(store: AwaitedStore) -> bytes:
    """One that may be gone by."""
    raw: bytes = store.store._states._header.raw
    return raw


async def test_a_header_that_hides_a_commit_is_not_believed_again(
    store: AwaitedStore, path: Path, header: bytes
) -> None:
    cache = StateCache(connect_to_read(path), Clock(), Told(header))
    assert revision_in(cache) == 1

    await store.put([snapshot(1, 2)])
    cache.of([StateQuery(2, "liquidator-1")])

    assert revision_in(cache) == 2
    await store.put([snapshot(1, 3)])
    assert revision_in(cache) == 3
    cache.close()


async def test_a_header_that_never_settles_is_not_gone_by(
    store: AwaitedStore, path: Path, header: bytes
) -> None:
    cache = StateCache(connect_to_read(path), Clock(), Told(header[:48] + bytes(48)))
    for number in range(2, 5):
        await store.put([snapshot(1, number)])
        assert revision_in(cache) == number
    cache.close()


def revision_in(cache: StateCache) -> int:
    (found,) = cache.of([QUERY])
    assert found.liquidation is not None
    return found.liquidation.revision
