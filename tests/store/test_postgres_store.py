"""What the store on PostgreSQL makes of calls: which share a transaction; how long one waits."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from liquidation.rules.model import ClaimState, Liquidation
from liquidation.store.base import PutResult, StateQuery, StoreUnavailableError
from liquidation.store.postgres.connection import Transaction
from liquidation.store.postgres.database import Database
from liquidation.store.postgres.store import PostgresStore
from tests.store.awaited import AwaitedStore, answer_to
from tests.store.claiming import accept, begin, begin_request, granted
from tests.store.opened import on_its_loop, once_it_answers, opened, rows
from tests.store.snapshots import snapshot

T = TypeVar("T")

# A server that nobody listens as: port 1 is reserved.
NOBODY = "postgresql://127.0.0.1:1/nothing"


@dataclass
class Noted:
    """What was told of commits, and how the transactions were run."""

    commits: list[tuple[int, float]] = field(default_factory=list)
    runs: list[dict[str, bool]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


@asynccontextmanager
async def noting(dsn: str, timeout_s: float = 10, group: int = 128) -> AsyncIterator[Any]:
    """A store, and what is noted of what it does; no transaction begins while the gate is shut."""
    noted = Noted()
    noted.gate.set()

    class Noting(Database):
        async def run(self, work: Callable[[Transaction], Awaitable[T]], **settings: bool) -> T:
            noted.runs.append(settings)
            await asyncio.to_thread(noted.gate.wait)
            return await super().run(work, **settings)

    store = AwaitedStore(
        PostgresStore(
            Noting(dsn, 10, 4),
            timeout_s,
            group,
            lambda writes, took_s: noted.commits.append((writes, took_s)),
            lambda _: None,
        )
    )
    try:
        yield store, noted
    finally:
        noted.gate.set()
        await store.aclose()


@asynccontextmanager
async def busy(store: PostgresStore) -> AsyncIterator[None]:
    """The store's thread takes nothing while the block runs, and then all that was asked."""
    begun, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        go.wait()

    store.count_active(hold)
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        go.set()


async def together(store: AwaitedStore, calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What becomes of calls that are all asked before the store's thread takes any."""
    async with busy(store.store):
        asked = [asyncio.create_task(each) for each in calls]
        await asyncio.sleep(0)
    return await asyncio.gather(*asked)


async def several_turns() -> None:
    """Lets a loop go on as far as it can: nothing has anything to wait for but the gate."""
    for _ in range(10):
        await asyncio.sleep(0)


def account(number: int) -> Liquidation:
    return snapshot(number, account_id=f"account-{number}")


async def test_writes_in_flight_together_share_a_commit_that_is_told_once(
    postgres_database: str,
) -> None:
    commits: list[int] = []
    async with opened(
        postgres_database, timeout_s=10, committed=lambda writes, _: commits.append(writes)
    ) as store:
        assert store.store._database._pool.max_size == 8
        await once_it_answers(store.probe)
        # The store's thread takes none before it can take all.
        async with busy(store.store):
            calls = [put(store.store, each) for each in range(300)]
        await asyncio.gather(*calls)

    assert sorted(commits) == [44, 128, 128]


async def test_each_kind_of_write_tells_how_many_shared_its_commit_and_how_long_it_took(
    postgres_database: str,
) -> None:
    async with noting(postgres_database) as (store, noted):
        since = time.monotonic()
        await together(store, (store.put([account(each)]) for each in (1, 2, 3)))
        begun = (begin(store, begin_request(liquidation_id=each)) for each in (1, 2, 3))
        claims = [granted(each) for each in await together(store, begun)]
        ended = (store.end(each.claim_id, None, ClaimState.CANCELLED, "") for each in claims[:2])
        await together(store, ended)
        await store.expire(10)
        took_s = time.monotonic() - since

    assert [writes for writes, _ in noted.commits] == [3, 3, 2, 1]
    assert all(each >= 0 for _, each in noted.commits)
    assert sum(each for _, each in noted.commits) <= took_s


async def test_of_the_leases_that_ran_out_as_many_are_written_down_as_asked(
    postgres_database: str,
) -> None:
    async with opened(postgres_database) as store:
        for number in (1, 2):
            await begin(store, begin_request(snapshot=account(number)))
        await rows(postgres_database, "UPDATE claim SET expire_time = clock_timestamp()")

        assert [len(await store.expire(1)) for _ in range(3)] == [1, 1, 0]


async def test_a_call_without_anything_in_it_goes_to_no_database() -> None:
    async with opened(NOBODY, timeout_s=0.1) as store:
        assert await store.states([]) == []
        assert await store.put([]) == []


async def test_a_claim_is_looked_for_by_what_is_given(postgres_database: str) -> None:
    async with opened(postgres_database) as store:
        claim = granted(await begin(store, begin_request(snapshot=account(1))))

        assert await store.claim(claim_id=claim.claim_id) == claim
        assert await store.claim(request_id=claim.request_id) == claim
        assert await store.claim(claim_id="none", request_id=claim.request_id) is None


async def test_the_database_has_a_little_less_time_than_a_caller() -> None:
    """So that it tells why there is no answer."""
    async with opened(NOBODY, timeout_s=0.2) as store:
        with pytest.raises(StoreUnavailableError, match=r"^no connection within 0\.19 s: "):
            await store.probe()


async def test_who_waits_for_others_to_get_their_answers_waits_no_longer_than_all() -> None:
    async with opened(NOBODY, timeout_s=2, group=1) as store:
        told = await asyncio.gather(
            *(store.put([account(each)]) for each in (1, 2, 3)), return_exceptions=True
        )

    assert [str(each).partition(":")[0] for each in told] == [
        "no connection within 1.9 s",
        "no connection within 1.9 s",
        "no answer within 2 s",
    ]


CALLS: dict[str, Callable[[AwaitedStore, int], Coroutine[Any, Any, Any]]] = {
    "states": lambda store, each: store.states([StateQuery(each, "nobody")] * 2),
    "put": lambda store, each: store.put([account(each), account(each + 1000)]),
    "begin": lambda store, each: store.begin(begin_request(liquidation_id=each), accept),
    "renew": lambda store, each: store.renew(f"claim-{each}", 1, 1_000_000),
    "end": lambda store, each: store.end(f"claim-{each}", 1, ClaimState.COMPLETED, ""),
}


@pytest.mark.parametrize("kind", CALLS)
async def test_no_caller_waits_longer_than_its_time(postgres_database: str, kind: str) -> None:
    async with noting(postgres_database, timeout_s=0.05) as (store, noted):
        noted.gate.clear()
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailableError) as raised:
                await CALLS[kind](store, 1)

    assert str(raised.value) == "no answer within 0.05 s"


@pytest.mark.parametrize(
    ("kind", "shared"),
    # A group is 4 here; of reads it takes in eight times as many, and a call of each brings two.
    [("states", 16), ("put", 2), ("begin", 4), ("renew", 4), ("end", 4)],
)
async def test_two_groups_of_a_kind_are_under_way_and_each_takes_so_many_calls(
    postgres_database: str, kind: str, shared: int
) -> None:
    async with noting(postgres_database, group=4) as (store, noted):
        async with busy(store.store):
            noted.runs.clear()
            noted.gate.clear()
            calls = [asyncio.create_task(CALLS[kind](store, each)) for each in range(3 * shared)]
            await asyncio.sleep(0)
        await on_its_loop(store, several_turns())
        under_way = len(noted.runs)
        noted.gate.set()
        await asyncio.gather(*calls)

    assert under_way == 2
    assert len(noted.runs) == 3


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("states", {}),
        ("put", {"repeatable": False}),
        ("begin", {"repeatable": True}),
        ("renew", {"repeatable": True}),
        ("end", {"repeatable": True}),
    ],
)
async def test_who_asks_alone_waits_for_others_and_who_asks_with_others_does_not(
    postgres_database: str, kind: str, settings: dict[str, bool]
) -> None:
    async with opened(postgres_database) as other:
        await other.put([account(1)])
    async with noting(postgres_database) as (store, noted):
        await store.probe()
        noted.runs.clear()
        await CALLS[kind](store, 1)

    assert noted.runs == [{"patient": False} | settings]


async def test_a_close_is_not_done_again_and_waits_for_others(postgres_database: str) -> None:
    async with noting(postgres_database) as (store, noted):
        await store.put([account(1)])
        noted.runs.clear()
        await store.close_liquidation(1)
        await store.purge(0, 1)

    assert noted.runs == [
        {"repeatable": False, "patient": True},
        {"repeatable": True, "patient": True},
    ]


def put(store: PostgresStore, number: int) -> "asyncio.Future[list[PutResult]]":
    """Asks at once, and tells what becomes of it."""
    return answer_to(lambda done: store.put([account(number)], done))


class _CountedWakes:
    """The loop of a store, and how often it is woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.wakes = 0

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        self.wakes += 1
        self._loop.call_soon_threadsafe(callback)


async def test_what_other_threads_ask_while_the_loop_is_busy_wakes_it_once(
    postgres_database: str,
) -> None:
    commits: list[int] = []
    async with opened(
        postgres_database, timeout_s=20, committed=lambda writes, _: commits.append(writes)
    ) as store:
        await once_it_answers(store.probe)

        async with busy(store.store):
            store.store._loop = counted = _CountedWakes(store.store._loop)
            calls = [put(store.store, each) for each in range(8)]
        await asyncio.gather(*calls)

        assert counted.wakes == 1

    assert commits == [8]


async def test_closing_answers_what_was_asked_before(postgres_database: str) -> None:
    store = PostgresStore.open(postgres_database, timeout_s=20)
    calls = [put(store, each) for each in range(8)]
    await asyncio.to_thread(store.close)

    assert all(each.opened for told in await asyncio.gather(*calls) for each in told)
    assert not store._thread.is_alive()


async def test_states_are_never_known_without_asking() -> None:
    async with opened(NOBODY, timeout_s=0.1) as store:
        assert store.store.states([StateQuery(1, "nobody")]) is None
