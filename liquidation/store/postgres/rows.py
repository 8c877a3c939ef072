"""Liquidations and what is known about requests in PostgreSQL, and the locks under which it holds.

What is asked about goes to the server as one JSON array. Every change of an account's rows is made
while its row in `account` is locked. The rows are locked in the order of the ids, so that no two
transactions wait for each other. What is read after the lock holds until the commit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from orjson import Fragment

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Liquidation, StoredState
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import (
    MAX_PAGE_BYTES,
    AccountMismatchError,
    ClaimActiveError,
    Page,
    PutResult,
    StateQuery,
)
from liquidation.store.postgres import SQL
from liquidation.store.postgres.connection import Rows, Statement, Transaction
from liquidation.store.records import liquidation_text, microseconds


def bounded(found: str, columns: str, texts: Sequence[str], table: str, order: str) -> str:
    """The statement that reads `columns` of the first rows of `found`, a query of `table`.

    It ends behind the row with which the `texts` of all reach `MAX_PAGE_BYTES`. The last column of
    each row is how many rows `found` has.
    """
    size = " + ".join(f"octet_length(found.{each}::text)" for each in texts)
    return f"""
        WITH {table} AS (
            SELECT found.*, count(*) OVER () AS rows_found,
                   sum({size}) OVER (ORDER BY found.{order} ROWS UNBOUNDED PRECEDING)
                       - ({size}) AS bytes_before
            FROM ({found}) AS found
        )
        SELECT {columns}, rows_found FROM {table}
        WHERE bytes_before < {MAX_PAGE_BYTES} ORDER BY {order}
    """


def is_cut(rows: Rows, page: Sequence[object]) -> bool:
    """Whether there are more rows than those in the page, which was made of the first of `rows`."""
    return bool(rows) and rows[0][-1] > len(page)


def active_claim(claim_id: str, expire: datetime, now: datetime) -> ActiveClaim:
    """A claim that is active, with what is left of its lease at `now`."""
    return ActiveClaim(claim_id, lease_left_s(microseconds(expire), microseconds(now)))


def written(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as the one parameter that a statement takes them by."""
    return orjson.dumps(rows).decode()


def about(queries: Sequence[StateQuery], request_ids: Sequence[str] = ()) -> dict[str, Any]:
    """The parameters of every statement that has `asked`."""
    return {
        "asked": written(
            [
                {
                    "n": n,
                    "liquidation_id": query.liquidation_id,
                    "account_id": query.account_id or None,
                    "liquidator_id": query.liquidator_id,
                    "request_id": request_ids[n] if request_ids else None,
                }
                for n, query in enumerate(queries)
            ]
        )
    }


def lock_accounts(asked: Mapping[str, Any]) -> tuple[Statement, Statement]:
    """Makes known and locks the accounts that are asked about, or whose liquidations are."""
    return (SQL["insert_accounts"], asked), (SQL["lock_accounts"], asked)


def state_from(row: Sequence[Any], fresh: Liquidation | None = None) -> StoredState:
    """The state in a row of `states`. `fresh` is its snapshot if that was just stored."""
    _, closed, snapshot, liquidator_in_liquidation, claim_id, expire, now, completed = row
    active = None if claim_id is None else active_claim(claim_id, expire, now)
    liquidation = fresh
    if liquidation is None and snapshot is not None:
        liquidation = liquidation_from_record(snapshot)
    return StoredState(liquidation, closed, liquidator_in_liquidation, active, completed)


async def states_of_all(
    transaction: Transaction, calls: Sequence[Sequence[StateQuery]]
) -> list[list[StoredState]]:
    """What is known about the requests of several calls; see `Store.states`."""
    asked = about([query for call in calls for query in call])
    (rows,) = await transaction.ask((SQL["states"], asked), commit=True)
    found = map(state_from, rows)
    return [list(islice(found, len(call))) for call in calls]


_Found = Mapping[int, Any]


class Puts:
    """Snapshots on their way into the store, and what became of each."""

    def __init__(
        self, snapshots: Sequence[Liquidation], request_ids: Sequence[str] | None = None
    ) -> None:
        """One that came with a request_id is stored only if no claim has that."""
        self._snapshots = snapshots
        # A statement touches a row once: snapshots of one liquidation follow each other.
        self._waves: list[list[dict[str, Any]]] = []
        self._wave_of: list[int] = []
        seen: Counter[int] = Counter()
        for number, each in enumerate(snapshots):
            wave = seen[each.liquidation_id]
            seen[each.liquidation_id] += 1
            if wave == len(self._waves):
                self._waves.append([])
            self._waves[wave].append(_row(each, request_ids[number] if request_ids else None))
            self._wave_of.append(wave)

    def statements(self, asked: Mapping[str, Any]) -> list[Statement]:
        """What stores them once their accounts are locked; `asked` names their ids."""
        return [
            (SQL["stored_liquidations"], asked),
            *((SQL["store_liquidations"], {"rows": written(each)}) for each in self._waves),
        ]

    def outcomes(self, answers: Sequence[Rows]) -> list[PutResult | None]:
        """What became of each, in order; None if it is stored for another account.

        `answers` are those to `statements`.
        """
        stored, *changed = ({row[0]: row for row in rows} for rows in answers)
        return [
            self._outcome(snapshot, stored, changed[wave])
            for snapshot, wave in zip(self._snapshots, self._wave_of, strict=True)
        ]

    @staticmethod
    def _outcome(sent: Liquidation, stored: dict[int, Any], changed: _Found) -> PutResult | None:
        key = sent.liquidation_id
        if key in changed:
            opened = key not in stored
            stored[key] = (key, sent.account_id, False, sent)
            return PutResult(sent, applied=True, opened=opened)
        if key not in stored:
            # It came under another account's lock, after this one looked.
            return None
        _, account_id, closed, kept = stored[key]
        if account_id != sent.account_id:
            return None
        liquidation = kept if isinstance(kept, Liquidation) else liquidation_from_record(kept)
        return PutResult(liquidation, applied=False, closed=closed)


async def put_all(
    transaction: Transaction, calls: Sequence[Sequence[Liquidation]]
) -> list[list[PutResult] | Exception]:
    """What became of the snapshots of several calls; a call is stored whole or not at all."""
    answers: dict[int, list[PutResult] | Exception] = {}
    while left := [number for number in range(len(calls)) if number not in answers]:
        refused, results = await _put_together(transaction, [calls[number] for number in left])
        if refused:
            # The others are tried again without them; each call has nothing of its own stored then.
            await transaction.roll_back()
            answers |= {left[place]: error for place, error in refused.items()}
            continue
        # Even if nothing was changed: what is reported as stored is durable, whoever stored it.
        await transaction.ask(commit=True)
        for number, call in zip(left, results, strict=True):
            answers[number] = [each for each in call if each is not None]
    return [answers[number] for number in range(len(calls))]


async def _put_together(
    transaction: Transaction, calls: Sequence[Sequence[Liquidation]]
) -> tuple[dict[int, AccountMismatchError], list[list[PutResult | None]]]:
    """Those that are refused, by their place in `calls`; and what became of each of all of them."""
    snapshots = [each for call in calls for each in call]
    puts = Puts(snapshots)
    asked = about([StateQuery(each.liquidation_id, "", each.account_id) for each in snapshots])
    _, _, *answers = await transaction.ask(*lock_accounts(asked), *puts.statements(asked))
    outcomes = iter(puts.outcomes(answers))
    results = [list(islice(outcomes, len(call))) for call in calls]
    strangers = {place: each.index(None) for place, each in enumerate(results) if None in each}
    before = {row[0] for row in answers[0]}
    # Of what met a row of this batch only the first is certain: the others may have met what is
    # about to be taken back.
    certain = [
        place for place, at in strangers.items() if calls[place][at].liquidation_id in before
    ] or list(strangers)[:1]
    return {place: AccountMismatchError(strangers[place]) for place in certain}, results


async def get_liquidation(transaction: Transaction, liquidation_id: int) -> Liquidation | None:
    """An open liquidation; see `Store.get`."""
    (rows,) = await transaction.ask(
        (SQL["get_liquidation"], {"liquidation_id": liquidation_id}), commit=True
    )
    return liquidation_from_record(rows[0][0]) if rows else None


async def page_of_liquidations(
    transaction: Transaction, account_id: str, after: int, size: int
) -> Page:
    """Open liquidations by id; see `Store.page`."""
    parameters = {"account_id": account_id, "after": after, "size": size + 1}
    statement = bounded(
        SQL["liquidations_of_account" if account_id else "liquidations"],
        "snapshot",
        ("snapshot",),
        "liquidation",
        "liquidation_id",
    )
    (rows,) = await transaction.ask((statement, parameters), commit=True)
    found = [liquidation_from_record(snapshot) for snapshot, _ in rows[:size]]
    return Page(found, found[-1].liquidation_id if is_cut(rows, found) else None)


async def close_liquidation(transaction: Transaction, liquidation_id: int) -> Liquidation | None:
    """Ends an open liquidation; see `Store.close_liquidation`."""
    asked = about([StateQuery(liquidation_id, "")])
    # On a trip of their own: on a connection that was lost long ago nothing is in doubt then.
    await transaction.ask(*lock_accounts(asked))
    (((snapshot, claim_id, expire, now),),) = await transaction.ask(
        (SQL["close_liquidation"], {"liquidation_id": liquidation_id}), commit=True
    )
    if claim_id is not None:
        raise ClaimActiveError(active_claim(claim_id, expire, now))
    return None if snapshot is None else liquidation_from_record(snapshot)


def _row(liquidation: Liquidation, request_id: str | None) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "liquidation_id": liquidation.liquidation_id,
        "account_id": liquidation.account_id,
        "revision": liquidation.revision,
        "snapshot": Fragment(liquidation_text(liquidation)),
    }
