"""The shared store: one PostgreSQL database for the sidecars of many hosts.

It is asked on an event loop in a thread of its own. Requests of one kind that are in flight
together share their round trips and their commit, see `Batches`. All times are the server's own.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from liquidation.rules.decision import Decision
from liquidation.rules.model import Claim, ClaimState, Liquidation, StoredState
from liquidation.store.base import (
    TIMEOUT_S,
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    ClaimRecord,
    CommitObserver,
    Done,
    Fault,
    Page,
    PutResult,
    StateQuery,
    report,
)
from liquidation.store.postgres import claims, rows
from liquidation.store.postgres.batches import Batches
from liquidation.store.postgres.begin import Begin, Slot, begin_all
from liquidation.store.postgres.claims import Change
from liquidation.store.postgres.connection import Transaction
from liquidation.store.postgres.database import Database

_Q = TypeVar("_Q")
_R = TypeVar("_R")

# Requests that share a transaction at most, and transactions of a kind that are under way at once.
MAX_GROUP: Final = 128
_LANES: Final = 2
# Reads that share one, for each write that may.
_READS: Final = 8
# The share of a caller's patience that the database has: it knows why there is no answer.
_OF_THE_TIME: Final = 0.95


class PostgresStore:
    """A `Store` in a PostgreSQL database, which may come and go while this is used.

    Any thread may ask; `done` is called on the store's own.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        connections: int = 8,
        group: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        on_fault: Fault = lambda _: None,
    ) -> None:
        """Uses up to `connections` to the database at `url`; no answer takes above `timeout_s`.

        At most `group` writes share a commit, reported to `committed`. `on_fault` takes what
        callbacks raise. It begins to connect, and does not wait for it.

        Raises:
            StoreError: `url` is not valid.
        """
        self._database = Database(url, _OF_THE_TIME * timeout_s, connections)
        self._committed = committed
        self._on_fault = on_fault
        self._requests: deque[Callable[[], None]] = deque()
        self._woken = False
        self._under_way: set[asyncio.Task[None]] = set()
        # A call may bring hundreds of these; a group takes in calls until it has enough of them.
        self._states: Batches[Sequence[StateQuery], list[StoredState]] = Batches(
            self._read_states, _READS * group, _LANES, timeout_s, len, on_fault
        )
        self._puts: Batches[Sequence[Liquidation], list[PutResult]] = Batches(
            self._put, group, _LANES, timeout_s, len, on_fault
        )
        self._begins: Batches[Begin, BeginResult] = Batches(
            self._begin, group, _LANES, timeout_s, on_fault=on_fault
        )
        self._changes: Batches[Change, ChangeResult] = Batches(
            self._change, group, _LANES, timeout_s, on_fault=on_fault
        )
        self._closing: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="postgres-store", daemon=True
        )
        self._thread.start()
        started.wait()

    def states(self, queries: Sequence[StateQuery]) -> list[StoredState] | None:  # noqa: ARG002
        return None

    def read_states(self, queries: Sequence[StateQuery], done: Done[list[StoredState]]) -> None:
        self._submit_all(self._states, queries, done)

    def put(self, liquidations: Sequence[Liquidation], done: Done[list[PutResult]]) -> None:
        self._submit_all(self._puts, liquidations, done)

    def get(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        self._read(lambda transaction: rows.get_liquidation(transaction, liquidation_id), done)

    def page(self, account_id: str, after: int, size: int, done: Done[Page]) -> None:
        self._read(
            lambda transaction: rows.page_of_liquidations(transaction, account_id, after, size),
            done,
        )

    def close_liquidation(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        # Repeated, it would report an unknown liquidation.
        self._start(
            lambda: self._write(
                lambda transaction: rows.close_liquidation(transaction, liquidation_id),
                repeatable=False,
            ),
            done,
        )

    def begin(
        self,
        request: BeginRequest,
        decide: Callable[[StoredState], Decision],
        done: Done[BeginResult],
    ) -> None:
        self._ask(lambda: self._begins.submit(Begin(request, decide), done))

    def renew(self, claim_id: str, token: int, lease_us: int, done: Done[ChangeResult]) -> None:
        self._ask(lambda: self._changes.submit(Change(claim_id, token, lease_us), done))

    def end(
        self,
        claim_id: str,
        token: int | None,
        state: ClaimState,
        reason: str,
        done: Done[ChangeResult],
    ) -> None:
        self._ask(lambda: self._changes.submit(Change(claim_id, token, None, state, reason), done))

    def claim(
        self, *, claim_id: str = "", request_id: str = "", done: Done[ClaimRecord | None]
    ) -> None:
        key, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        self._read(lambda transaction: claims.record(transaction, key, value), done)

    def claims(
        self, wanted: ClaimFilter, below: int | None, size: int, done: Done[ClaimPage]
    ) -> None:
        self._read(lambda transaction: claims.page(transaction, wanted, below, size), done)

    def count_active(self, done: Done[int]) -> None:
        self._read(claims.count_active, done)

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        self._start(lambda: self._write(lambda asked: claims.expire(asked, most)), done)

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        self._start(
            lambda: self._write(lambda asked: claims.purge(asked, retention_us, most)), done
        )

    def probe(self, done: Done[None]) -> None:
        self._start(self._database.probe, done)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _submit_all(
        self,
        batches: Batches[Sequence[_Q], list[_R]],
        questions: Sequence[_Q],
        done: Done[list[_R]],
    ) -> None:
        if questions:
            self._ask(lambda: batches.submit(questions, done))
        else:
            self._ask(lambda: report(done, [], self._on_fault))

    def _read(self, work: Callable[[Transaction], Awaitable[_R]], done: Done[_R]) -> None:
        """Tells what a transaction returns, in a time that the database bounds."""
        self._start(lambda: self._database.run(work), done)

    def _start(self, work: Callable[[], Coroutine[Any, Any, _R]], done: Done[_R]) -> None:
        def start() -> None:
            task = asyncio.create_task(self._report(work(), done))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        self._ask(start)

    def _ask(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._take_requests)

    def _take_requests(self) -> None:
        # Before it looks: who comes later wakes it again.
        self._woken = False
        while self._requests:
            self._requests.popleft()()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        await self._database.open()
        started.set()
        await self._closing.wait()
        self._take_requests()
        for batches in (self._states, self._puts, self._begins, self._changes):
            await batches.drained()
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._database.aclose()

    async def _report(self, work: Coroutine[Any, Any, _R], done: Done[_R]) -> None:
        outcome: _R | Exception
        try:
            outcome = await work
        except Exception as error:  # noqa: BLE001 - handed to the caller
            outcome = error
        report(done, outcome, self._on_fault)

    async def _read_states(
        self, calls: Sequence[Sequence[StateQuery]], /, *, alone: bool
    ) -> list[list[StoredState]]:
        return await self._database.run(
            lambda transaction: rows.states_of_all(transaction, calls),
            patient=alone,
        )

    async def _put(
        self, calls: Sequence[Sequence[Liquidation]], /, *, alone: bool
    ) -> list[list[PutResult] | Exception]:
        # Repeated, it would report what it has just stored as known before.
        return await self._write(
            lambda transaction: rows.put_all(transaction, calls),
            len(calls),
            repeatable=False,
            patient=alone,
        )

    async def _begin(
        self, begins: Sequence[Begin], /, *, alone: bool
    ) -> list[BeginResult | Exception]:
        earlier: dict[str, Slot] = {}
        return await self._write(
            lambda transaction: begin_all(transaction, begins, earlier),
            len(begins),
            patient=alone,
        )

    async def _change(self, changes: Sequence[Change], /, *, alone: bool) -> list[ChangeResult]:
        # Done again, an end is found done, and a renewal is renewed.
        return await self._write(
            lambda transaction: claims.change_all(transaction, changes),
            len(changes),
            patient=alone,
        )

    async def _write(
        self,
        work: Callable[[Transaction], Awaitable[_R]],
        writes: int = 1,
        *,
        repeatable: bool = True,
        patient: bool = True,
    ) -> _R:
        begun = time.monotonic()
        result = await self._database.run(work, repeatable=repeatable, patient=patient)
        took_s = time.monotonic() - begun
        report(lambda _: self._committed(writes, took_s), None, self._on_fault)
        return result
