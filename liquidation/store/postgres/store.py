"""The shared store: one PostgreSQL database for the sidecars of many hosts.

Requests of one kind that are in flight together share their round trips and their commit, see
`Batches`. All times are the server's own.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self, TypeVar

from liquidation.rules.model import (
    Claim,
    ClaimEvent,
    ClaimState,
    Decision,
    Liquidation,
    StoredState,
)
from liquidation.store.base import (
    TIMEOUT_S,
    BeginRequest,
    BeginResult,
    ChangeResult,
    ClaimFilter,
    ClaimPage,
    CommitObserver,
    Page,
    PutResult,
    StateQuery,
)
from liquidation.store.postgres import claim_rows, claims, liquidations, states
from liquidation.store.postgres.batches import Batches
from liquidation.store.postgres.begin import Begin, Slot, begin_all
from liquidation.store.postgres.claims import Change
from liquidation.store.postgres.database import Database
from liquidation.store.postgres.transaction import Transaction

__all__ = ["PostgresStore"]

_R = TypeVar("_R")

# Requests that share a transaction at most, and transactions of a kind that are under way at once.
MAX_GROUP: Final = 128
_LANES: Final = 2
# Reads that share one, for each write that may.
_READS: Final = 8
# The share of a caller's patience that the database has: it knows why there is no answer.
_OF_THE_TIME: Final = 0.95


class PostgresStore:
    """A `Store` in a PostgreSQL database, which may come and go while this is used."""

    def __init__(
        self, database: Database, timeout_s: float, group: int, committed: CommitObserver
    ) -> None:
        """Uses `database`; see `open`."""
        self._database = database
        self._committed = committed

        # A call may bring hundreds of these; a group takes in calls until it has enough of them.
        self._states: Batches[Sequence[StateQuery], list[StoredState]] = Batches(
            self._read_states, _READS * group, _LANES, timeout_s, weight=len
        )
        self._puts: Batches[Sequence[Liquidation], list[PutResult]] = Batches(
            self._put, group, _LANES, timeout_s, weight=len
        )
        self._begins: Batches[Begin, BeginResult] = Batches(self._begin, group, _LANES, timeout_s)
        self._changes: Batches[Change, ChangeResult] = Batches(
            self._change, group, _LANES, timeout_s
        )

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        connections: int = 8,
        group: int = MAX_GROUP,
        committed: CommitObserver = lambda *_: None,
    ) -> Self:
        """Uses up to `connections` to the database at `url`; no answer takes above `timeout_s`.

        At most `group` writes share a commit, told to `committed`. It begins to connect, and does
        not wait for it.

        Raises:
            StoreError: `url` is not a sound one.
        """
        database = Database(url, _OF_THE_TIME * timeout_s, connections)
        store = cls(database, timeout_s, group, committed)
        await database.open()
        return store

    async def states(self, queries: Sequence[StateQuery]) -> list[StoredState]:
        return await self._states.submit(queries) if queries else []

    async def put(self, liquidations: Sequence[Liquidation]) -> list[PutResult]:
        return await self._puts.submit(liquidations) if liquidations else []

    async def get(self, liquidation_id: int) -> Liquidation | None:
        return await self._database.run(
            lambda transaction: liquidations.get(transaction, liquidation_id)
        )

    async def page(self, account_id: str, after: int, size: int) -> Page:
        return await self._database.run(
            lambda transaction: liquidations.page(transaction, account_id, after, size)
        )

    async def close_liquidation(self, liquidation_id: int) -> Liquidation | None:
        # Done again, it would tell of a liquidation that is not known.
        return await self._write(
            lambda transaction: liquidations.close(transaction, liquidation_id),
            repeatable=False,
        )

    async def begin(
        self, request: BeginRequest, decide: Callable[[StoredState], Decision]
    ) -> BeginResult:
        return await self._begins.submit(Begin(request, decide))

    async def renew(self, claim_id: str, token: int, lease_us: int) -> ChangeResult:
        return await self._changes.submit(Change(claim_id, token, lease_us))

    async def end(
        self, claim_id: str, token: int | None, state: ClaimState, reason: str
    ) -> ChangeResult:
        return await self._changes.submit(Change(claim_id, token, None, state, reason))

    async def claim(self, *, claim_id: str = "", request_id: str = "") -> Claim | None:
        key, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        return await self._database.run(
            lambda transaction: claim_rows.find(transaction, key, value)
        )

    async def history(self, claim_id: str) -> list[ClaimEvent]:
        return await self._database.run(
            lambda transaction: claim_rows.history(transaction, claim_id)
        )

    async def claims(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        return await self._database.run(
            lambda transaction: claim_rows.page(transaction, wanted, below, size)
        )

    async def count_active(self) -> int:
        return await self._database.run(claim_rows.count_active)

    async def expire(self, most: int) -> tuple[Claim, ...]:
        return await self._write(lambda transaction: claims.expire(transaction, most))

    async def purge(self, retention_us: int, most: int) -> int:
        return await self._write(lambda transaction: claims.purge(transaction, retention_us, most))

    async def probe(self) -> None:
        await self._database.probe()

    async def aclose(self) -> None:
        for batches in (self._states, self._puts, self._begins, self._changes):
            await batches.drained()
        await self._database.aclose()

    async def _read_states(
        self, calls: Sequence[Sequence[StateQuery]], /, *, alone: bool
    ) -> list[list[StoredState]]:
        return await self._database.run(
            lambda transaction: states.states_of_all(transaction, calls),
            patient=alone,
        )

    async def _put(
        self, calls: Sequence[Sequence[Liquidation]], /, *, alone: bool
    ) -> list[list[PutResult] | Exception]:
        # Done again, it would tell of what it has stored itself as known before.
        return await self._write(
            lambda transaction: liquidations.put_all(transaction, calls),
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
        done = await self._database.run(work, repeatable=repeatable, patient=patient)
        self._committed(writes, time.monotonic() - begun)
        return done
