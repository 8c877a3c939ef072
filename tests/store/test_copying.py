"""Moving a store from SQLite to PostgreSQL: all of it, as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from liquidation.rules.model import Claim, ClaimState
from liquidation.store.base import StateQuery
from liquidation.store.copy import copy
from tests.clocks import Clock
from tests.store.builders import LEASE_S
from tests.store.moving import contents, everything, fill, moved, moving_claim
from tests.store.stores import ServerClock, connected, postgres_store, sqlite_store


@pytest.fixture
def clock() -> Clock:
    """The clock of the file's host."""
    return Clock()


async def test_all_that_a_caller_can_learn_is_the_same_after_the_move(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
        before = await everything(store)
    with ServerClock(target) as server_clock:
        server_clock.advance(LEASE_S + 5)

        copied = await moved(path, target, clock)

        async with postgres_store(target) as store:
            after = await everything(store)
    assert after == before
    assert copied.rows == {"account": 8, "liquidation": 9, "claim": 7, "claim_event": 12}
    assert (copied.running, copied.over, copied.replaced) == (2, 1, 0)
    assert {each.state for each in before["claims"]} == set(ClaimState)


async def test_the_server_knows_at_once_how_much_there_is_to_plan_for(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)

    copied = await moved(path, target, clock)

    async with connected(target) as connection:
        known = await connection.execute("SELECT relname, reltuples FROM pg_class")
        assert copied.rows.items() <= dict(await known.fetchall()).items()


async def test_an_account_of_which_no_more_than_a_claim_is_known_is_one(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        claim = await moving_claim(store, 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM liquidation")
    with ServerClock(target):
        await moved(path, target, clock)
        async with postgres_store(target) as store:
            await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
            (state,) = await store.states([StateQuery(1, "nobody", claim.account_id)])

    assert state.last_completed_revision == claim.liquidation_revision


async def test_tokens_go_on_above_every_one_that_was_ever_given(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        for number in range(1, 4):
            last = await moving_claim(store, number)
            await store.end(last.claim_id, last.fencing_token, ClaimState.CANCELLED, "")
        clock.advance(1)
        assert await store.purge(retention_us=0, most=10) == 3

    copied = await moved(path, target, clock)

    assert copied.next_token == last.fencing_token + 1
    async with postgres_store(target) as store:
        assert (await moving_claim(store, 1)).fencing_token == copied.next_token


async def test_tokens_that_the_target_gave_are_not_given_again(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        await moving_claim(store, 1)
    async with postgres_store(target) as store:
        for number in range(1, 4):
            last = await moving_claim(store, number)
    async with connected(target) as connection:
        await connection.execute("TRUNCATE account, liquidation, claim, claim_event")

    copied = await moved(path, target, clock)

    assert copied.next_token == last.fencing_token + 1


async def test_what_happens_to_a_claim_later_comes_after_what_happened_before(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        claim = await moving_claim(store, 1)
        for _ in range(3):
            await store.renew(claim.claim_id, claim.fencing_token, 60_000_000)
    with ServerClock(target):
        await moved(path, target, clock)

        async with postgres_store(target) as store:
            await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
            changes = [each.change for each in await store.history(claim.claim_id)]

    assert changes == ["begin", "renew", "renew", "renew", "complete"]


@pytest.mark.parametrize("server_ahead_s", [-3600, 0, 3600])
async def test_a_lease_keeps_what_is_left_of_it_by_the_clock_of_the_server(
    path: Path, target: str, clock: Clock, server_ahead_s: int
) -> None:
    async with sqlite_store(path, clock) as store:
        running = await moving_claim(store, 1, lease_s=100)
        over = await moving_claim(store, 2, lease_s=20)
    clock.advance(70)
    with ServerClock(target) as server_clock:
        server_clock.set_wall(server_ahead_s)
        await check_leases(path, target, clock, server_clock, (running, over), left_s=30)


@pytest.mark.parametrize("server_ahead_s", [-3600, 3600])
@pytest.mark.parametrize("left_us", [0, 1])
async def test_a_lease_runs_on_for_its_last_microsecond_and_not_for_none(
    path: Path, target: str, clock: Clock, left_us: int, server_ahead_s: int
) -> None:
    async with sqlite_store(path, clock) as store:
        claim = await moving_claim(store, 1, lease_s=20)
    clock.advance(20 - left_us / 1_000_000)
    with ServerClock(target) as server_clock:
        server_clock.set_wall(server_ahead_s)

        copied = await moved(path, target, clock)

        async with postgres_store(target) as store:
            found = await store.claim(claim_id=claim.claim_id)
        now_us = server_clock.wall_us()
    assert found is not None
    assert found.expire_us == (now_us + 1 if left_us else min(claim.expire_us, now_us))
    assert (copied.running, copied.over) == (left_us, 1 - left_us)


async def test_over_a_restart_of_the_host_a_lease_runs_to_its_time_on_the_wall(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        running = await moving_claim(store, 1, lease_s=100)
        over = await moving_claim(store, 2, lease_s=20)
    clock.advance(70)
    clock.restart()
    with ServerClock(target) as server_clock:
        await check_leases(path, target, clock, server_clock, (running, over), left_s=30)


async def test_a_wall_clock_that_was_set_back_with_the_restart_makes_no_lease_longer(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        claims = (
            await moving_claim(store, 1, lease_s=100),
            await moving_claim(store, 2, lease_s=20),
        )
    clock.set_wall(-3600)
    clock.restart()
    with ServerClock(target) as server_clock:
        copied = await moved(path, target, clock)
        async with postgres_store(target) as store:
            for claim, lease_s in zip(claims, (100, 20), strict=True):
                found = await store.claim(claim_id=claim.claim_id)
                assert found is not None
                assert found.expire_us == server_clock.wall_us() + lease_s * 1_000_000
    assert (copied.running, copied.over) == (2, 0)


async def check_leases(
    path: Path,
    target: str,
    clock: Clock,
    server_clock: ServerClock,
    claims: tuple[Claim, Claim],
    left_s: int,
) -> None:
    """Of two claims the first runs on for `left_s`, and the other is over."""
    copied = await moved(path, target, clock)
    async with postgres_store(target) as store:
        running, over = [await store.claim(claim_id=each.claim_id) for each in claims]
    assert running is not None
    assert over is not None
    assert (running.state, over.state) == (ClaimState.ACTIVE, ClaimState.EXPIRED)
    assert running.expire_us == server_clock.wall_us() + left_s * 1_000_000
    # What is over stays over, by either clock.
    assert over.expire_us == min(claims[1].expire_us, server_clock.wall_us())
    assert (copied.running, copied.over) == (1, 1)


async def test_a_file_that_nothing_was_stored_in_is_moved_too(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock):
        pass

    copied = await moved(path, target, clock)

    assert copied.rows == {"account": 0, "liquidation": 0, "claim": 0, "claim_event": 0}
    assert (copied.running, copied.over, copied.next_token) == (0, 0, 1)
    assert await first_event_after(target) == 1


async def test_the_next_event_follows_the_last_one(path: Path, target: str, clock: Clock) -> None:
    async with sqlite_store(path, clock) as store:
        await moving_claim(store, 1)

    await moved(path, target, clock)

    assert await first_event_after(target) == 2


async def first_event_after(target: str) -> int:
    """The id of what is the first to happen in the target."""
    async with postgres_store(target) as store:
        await moving_claim(store, 9)
    return int((await contents(target))["claim_event"][-1][0])


async def test_the_progress_is_told_now_and_then(
    path: Path, target: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquidation.store.copy._STRIDE", 15)
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
    told: list[tuple[str, int]] = []

    async with connected(target) as connection:
        await copy(path, connection, clock, lambda done, rows: told.append((done, rows)))

    assert told == [("copied", 15), ("copied", 30), ("compared", 15), ("compared", 30)]


async def test_the_file_is_left_as_it_was(path: Path, target: str, clock: Clock) -> None:
    async with sqlite_store(path, clock) as store:
        await fill(store, clock)
        before = await everything(store)

    await moved(path, target, clock)

    async with sqlite_store(path, clock) as store:
        assert await everything(store) == before


async def test_characters_that_postgresql_cannot_hold_are_replaced_and_counted(
    path: Path, target: str, clock: Clock
) -> None:
    async with sqlite_store(path, clock) as store:
        claim = await moving_claim(store, 1)
        await store.end(claim.claim_id, None, ClaimState.CANCELLED, "\0why\0")

    copied = await moved(path, target, clock)

    async with postgres_store(target) as store:
        found = await store.claim(claim_id=claim.claim_id)
        history = await store.history(claim.claim_id)
    assert found is not None
    assert (found.end_reason, history[-1].reason) == ("\ufffdwhy\ufffd",) * 2
    assert copied.replaced == 4
