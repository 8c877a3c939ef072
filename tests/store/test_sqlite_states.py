"""States that are kept in memory are those in the file, whoever wrote it."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from liquidation.rules.model import ClaimState, StoredState
from liquidation.store.base import StateQuery, StoreUnavailableError
from liquidation.store.sqlite import states
from liquidation.store.sqlite import store as sqlite_store
from tests.clocks import Clock
from tests.store.awaited import AwaitedStore, awaited_sqlite
from tests.store.claiming import LEASE_S, begin, granted
from tests.store.snapshots import snapshot

QUERY = StateQuery(1, "liquidator-1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[True, False], ids=["header", "pragma"])
def by_header(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a commit is seen in the header of the WAL index, or SQLite is asked."""
    if not request.param:
        monkeypatch.setattr(sqlite_store, "find_header", lambda _: None)
    return bool(request.param)


@pytest.fixture
async def store(tmp_path: Path, clock: Clock, by_header: bool) -> AsyncIterator[AwaitedStore]:
    """The store that is asked."""
    store = awaited_sqlite(tmp_path / "store.db", clock)
    assert (store.store._states._header is not None) is by_header
    yield store
    await store.aclose()


@pytest.fixture
async def other(tmp_path: Path, clock: Clock, store: AwaitedStore) -> AsyncIterator[AwaitedStore]:
    """Another on the same file, as another process has it."""
    assert store is not None
    other = awaited_sqlite(tmp_path / "store.db", clock)
    yield other
    await other.aclose()


def statements_of(store: AwaitedStore) -> list[str]:
    """Every statement from now on of the connection that states are read on."""
    said: list[str] = []
    store.store._states._connection.set_trace_callback(said.append)
    return said


async def state(store: AwaitedStore) -> StoredState:
    (found,) = await store.states([QUERY])
    return found


async def test_a_request_that_was_looked_up_is_not_looked_up_again(
    store: AwaitedStore, by_header: bool
) -> None:
    await store.put([snapshot(1)])
    first = await state(store)
    said = statements_of(store)

    assert await state(store) is first

    assert said == ([] if by_header else ["PRAGMA data_version"])


async def test_requests_that_are_not_all_known_are_read_at_one_moment(
    store: AwaitedStore, by_header: bool
) -> None:
    await store.put([snapshot(1), snapshot(2)])
    await state(store)
    said = statements_of(store)

    found = await store.states([QUERY, StateQuery(2, "liquidator-1")])

    assert [each.liquidation for each in found] == [snapshot(1), snapshot(2)]
    told = [each.split()[0] for each in said]
    assert told == ([] if by_header else ["PRAGMA"]) + ["BEGIN", "PRAGMA", "SELECT", "COMMIT"]


@pytest.mark.parametrize("writer", ["store", "other"])
async def test_every_write_of_anybody_is_seen_at_once(
    store: AwaitedStore, other: AwaitedStore, writer: str
) -> None:
    writing = {"store": store, "other": other}[writer]
    assert (await state(store)).liquidation is None

    await writing.put([snapshot(1)])
    assert (await state(store)).liquidation == snapshot(1)
    await writing.put([snapshot(1, revision=2)])
    assert (await state(store)).liquidation == snapshot(1, revision=2)

    claim = granted(await begin(writing))
    held = (await state(store)).active_claim
    assert held is not None
    assert held.claim_id == claim.claim_id

    await writing.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
    settled = await state(store)
    assert settled.active_claim is None
    assert settled.last_completed_revision == 2

    await writing.close_liquidation(1)
    assert (await state(store)).closed


async def test_a_lease_runs_and_ends_though_nobody_writes(
    store: AwaitedStore, clock: Clock, by_header: bool
) -> None:
    await store.put([snapshot(1)])
    await begin(store)
    before = (await state(store)).active_claim
    said = statements_of(store)

    clock.advance(1)
    later = (await state(store)).active_claim
    clock.advance(LEASE_S - 1)
    over = (await state(store)).active_claim

    assert said == ([] if by_header else ["PRAGMA data_version"] * 2)
    assert before is not None
    assert later is not None
    assert before.lease_left_s - later.lease_left_s == 1
    assert over is None


@pytest.mark.parametrize(
    ("stored", "asked", "kept"),
    [
        (6, 3, 3),  # the bound itself: each counts for itself and its two positions
        (6, 4, 1),  # too much: all are forgotten
        (6, 6, 3),
        (0, 9, 9),  # what is not known counts for one
        (0, 10, 1),
    ],
)
async def test_what_is_kept_is_bounded(
    store: AwaitedStore, monkeypatch: pytest.MonkeyPatch, stored: int, asked: int, kept: int
) -> None:
    monkeypatch.setattr(states, "_MOST_POSITIONS", 9)
    snapshots = [snapshot(number) for number in range(1, stored + 1)]
    await store.put(snapshots)
    expected = [*snapshots, *[None] * asked][:asked]

    found = await store.states([StateQuery(1 + n, "liquidator-1") for n in range(asked)])

    assert [each.liquidation for each in found] == expected
    inside = store.store._states
    assert len(inside._found) == kept
    positions = sum(len(each.positions) for _, each in inside._snapshots.values())
    assert inside._size == kept + positions <= 9


async def test_a_snapshot_is_read_once_however_often_others_are_written(
    store: AwaitedStore,
) -> None:
    await store.put([snapshot(1)])
    first = (await state(store)).liquidation

    for revision in range(1, 4):
        await store.put([snapshot(2, revision)])
        assert (await state(store)).liquidation is first
    await store.put([snapshot(1, revision=2)])

    assert (await state(store)).liquidation == snapshot(1, revision=2)


async def test_what_is_kept_of_one_liquidation_does_not_grow_with_its_revisions(
    store: AwaitedStore,
) -> None:
    for revision in range(1, 20):
        await store.put([snapshot(1, revision)])
        await state(store)

    assert store.store._states._size == 1 + len(snapshot(1).positions)


async def test_a_revision_for_which_there_is_no_room_is_told_all_the_same(
    store: AwaitedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_MOST_POSITIONS", 6)
    await store.put([snapshot(1), snapshot(2)])
    await store.states([QUERY, StateQuery(2, "liquidator-1")])
    three = (*snapshot(1).positions, replace(snapshot(1).positions[0], symbol="PERP_SOL_USDC"))

    await store.put([snapshot(1, 2, positions=three * 2)])

    assert (await state(store)).liquidation == snapshot(1, 2, positions=three * 2)
    assert store.store._states._size == 1


async def test_a_file_that_cannot_be_read_any_more_is_unavailable(
    store: AwaitedStore, tmp_path: Path
) -> None:
    await store.put([snapshot(1)])
    with sqlite3.connect(tmp_path / "store.db") as broken:
        broken.execute("DROP TABLE settled")
    broken.close()

    with pytest.raises(StoreUnavailableError, match="settled"):
        await state(store)
