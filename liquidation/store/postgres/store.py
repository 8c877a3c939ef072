"""The shared store: a PostgreSQL database, asked on an event loop in a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Self

from liquidation.rules.model import Claim, ClaimState, Decision, Liquidation, StoredState
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
)
from liquidation.store.postgres.database import Database
from liquidation.store.postgres.engine import MAX_GROUP, PostgresEngine

# The share of a caller's patience that the database has: it knows why there is no answer.
_OF_THE_TIME: Final = 0.95


class PostgresStore:
    """A `Store` in a PostgreSQL database, which may come and go while this is used.

    Any thread may ask; `done` is called on the store's own.
    """

    def __init__(self, database: Database, make_engine: Callable[[], PostgresEngine]) -> None:
        """Opens `database` for the engine that `make_engine` makes of it; see `open`."""
        self._requests: deque[Callable[[PostgresEngine], None]] = deque()
        self._woken = False
        self._closing: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        started = threading.Event()

        def run() -> None:
            asyncio.run(self._serve(database, make_engine, started))

        self._thread = threading.Thread(target=run, name="postgres-store", daemon=True)
        self._thread.start()
        started.wait()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        connections: int = 8,
        group: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
        on_fault: Fault = lambda _: None,
    ) -> Self:
        """Uses up to `connections` to the database at `url`; no answer takes above `timeout_s`.

        At most `group` writes share a commit, told to `committed`. `on_fault` is told what
        callbacks raise. It begins to connect, and does not wait for it.

        Raises:
            StoreError: `url` is not valid.
        """
        database = Database(url, _OF_THE_TIME * timeout_s, connections)
        return cls(
            database,
            lambda: PostgresEngine(database, timeout_s, group, committed, on_fault),
        )

    def states(self, queries: Sequence[StateQuery]) -> list[StoredState] | None:  # noqa: ARG002
        return None

    def read_states(self, queries: Sequence[StateQuery], done: Done[list[StoredState]]) -> None:
        self._ask(lambda engine: engine.read_states(queries, done))

    def put(self, liquidations: Sequence[Liquidation], done: Done[list[PutResult]]) -> None:
        self._ask(lambda engine: engine.put(liquidations, done))

    def get(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        self._ask(lambda engine: engine.get(liquidation_id, done))

    def page(self, account_id: str, after: int, size: int, done: Done[Page]) -> None:
        self._ask(lambda engine: engine.page(account_id, after, size, done))

    def close_liquidation(self, liquidation_id: int, done: Done[Liquidation | None]) -> None:
        self._ask(lambda engine: engine.close_liquidation(liquidation_id, done))

    def begin(
        self,
        request: BeginRequest,
        decide: Callable[[StoredState], Decision],
        done: Done[BeginResult],
    ) -> None:
        self._ask(lambda engine: engine.begin(request, decide, done))

    def renew(self, claim_id: str, token: int, lease_us: int, done: Done[ChangeResult]) -> None:
        self._ask(lambda engine: engine.renew(claim_id, token, lease_us, done))

    def end(
        self,
        claim_id: str,
        token: int | None,
        state: ClaimState,
        reason: str,
        done: Done[ChangeResult],
    ) -> None:
        self._ask(lambda engine: engine.end(claim_id, token, state, reason, done))

    def claim(
        self, *, claim_id: str = "", request_id: str = "", done: Done[ClaimRecord | None]
    ) -> None:
        self._ask(lambda engine: engine.claim(claim_id=claim_id, request_id=request_id, done=done))

    def claims(
        self, wanted: ClaimFilter, below: int | None, size: int, done: Done[ClaimPage]
    ) -> None:
        self._ask(lambda engine: engine.claims(wanted, below, size, done))

    def count_active(self, done: Done[int]) -> None:
        self._ask(lambda engine: engine.count_active(done))

    def expire(self, most: int, done: Done[Sequence[Claim]]) -> None:
        self._ask(lambda engine: engine.expire(most, done))

    def purge(self, retention_us: int, most: int, done: Done[int]) -> None:
        self._ask(lambda engine: engine.purge(retention_us, most, done))

    def probe(self, done: Done[None]) -> None:
        self._ask(lambda engine: engine.probe(done))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _ask(self, request: Callable[[PostgresEngine], None]) -> None:
        """Hands a request to the loop, which is woken once for all that come before it looks."""
        self._requests.append(request)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._take_requests)

    def _take_requests(self) -> None:
        # Before it looks: who comes later wakes it again.
        self._woken = False
        while self._requests:
            self._requests.popleft()(self._engine)

    async def _serve(
        self,
        database: Database,
        make_engine: Callable[[], PostgresEngine],
        started: threading.Event,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._engine = make_engine()
        await database.open()
        started.set()
        await self._closing.wait()
        self._take_requests()
        await self._engine.aclose()
