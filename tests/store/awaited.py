"""A store as tests ask it: every method is awaited, though the store's own tell a callback."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from liquidation.rules.model import (
    Claim,
    ClaimEvent,
    ClaimState,
    Decision,
    Liquidation,
    StoredState,
)
from liquidation.store.base import (
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    ClaimRecord,
    Done,
    Page,
    PutResult,
    StateQuery,
    Store,
)
from liquidation.store.postgres.batches import Batches
from liquidation.store.postgres.store import PostgresStore
from liquidation.store.sqlite.clock import StoreClock
from liquidation.store.sqlite.store import SqliteStore

__all__ = ["AwaitedStore", "answer_to", "answered", "awaited_postgres", "awaited_sqlite"]

Q = TypeVar("Q")
R = TypeVar("R")


def answer_to(ask: Callable[[Done[R]], None]) -> "asyncio.Future[R]":
    """What is told to the callback that `ask` hands on, at once; raised if it is an exception."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()

    def settle(outcome: R | Exception) -> None:
        if answer.cancelled():
            return
        assert not answer.done(), "it is told twice"
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def done(outcome: R | Exception) -> None:
        # A loop that was closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    ask(done)
    return answer


async def answered(batches: Batches[Q, R], question: Q) -> R:
    """The answer to a question that shares a trip."""
    return await answer_to(lambda done: batches.submit(question, done))


class AwaitedStore:
    """A store whose answers are awaited; `store` is the one that is asked."""

    def __init__(self, store: Store) -> None:
        # Tests of one engine look into it.
        self.store: Any = store

    async def states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        found: list[StoredState] | None = self.store.states(queries)
        if found is not None:
            return found
        return await answer_to(lambda done: self.store.read_states(queries, done))

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        return await answer_to(lambda done: self.store.put(liquidations, done))

    async def get(self, liquidation_id: int) -> Liquidation | None:
        return await answer_to(lambda done: self.store.get(liquidation_id, done))

    async def page(self, account_id: str, after: int, size: int) -> Page:
        return await answer_to(lambda done: self.store.page(account_id, after, size, done))

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        return await answer_to(lambda done: self.store.close_liquidation(liquidation_id, done))

    async def begin(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult:
        return await answer_to(lambda done: self.store.begin(request, decide, done))

    async def renew(self, claim_id: str, token: int, lease_us: int) -> ChangeResult:
        return await answer_to(lambda done: self.store.renew(claim_id, token, lease_us, done))

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str
    ) -> ChangeResult:
        return await answer_to(lambda done: self.store.end(claim_id, token, state, reason, done))

    async def record(self, *, claim_id: str = "", request_id: str = "") -> ClaimRecord | None:
        return await answer_to(
            lambda done: self.store.claim(claim_id=claim_id, request_id=request_id, done=done)
        )

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        found = await self.record(claim_id=claim_id, request_id=request_id)
        return None if found is None else found.claim

    async def history(self, claim_id: str) -> list[ClaimEvent]:
        found = await self.record(claim_id=claim_id)
        return [] if found is None else list(found.history)

    async def claims(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        return await answer_to(lambda done: self.store.claims(wanted, below, size, done))

    async def count_active(self) -> int:
        return await answer_to(self.store.count_active)

    async def expire(self, most: int) -> Sequence[Claim]:
        return await answer_to(lambda done: self.store.expire(most, done))

    async def purge(self, retention_us: int, most: int) -> int:
        return await answer_to(lambda done: self.store.purge(retention_us, most, done))

    async def probe(self) -> None:
        await answer_to(self.store.probe)

    async def aclose(self) -> None:
        # What is still to be told is told on this loop.
        await asyncio.to_thread(self.store.close)


def awaited_postgres(dsn: str, **settings: Any) -> AwaitedStore:
    """The store in the database at `dsn`."""
    return AwaitedStore(PostgresStore.open(dsn, **settings))


def awaited_sqlite(path: Path, clock: StoreClock, **settings: Any) -> AwaitedStore:
    """The store in the file at `path`."""
    return AwaitedStore(SqliteStore(path, clock, **settings))
