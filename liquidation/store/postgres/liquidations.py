"""Liquidations in PostgreSQL: what stores, reads and ends them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from orjson import Fragment

from liquidation.rules.model import Liquidation
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import (
    AccountMismatchError,
    ClaimActiveError,
    Page,
    PutResult,
    StateQuery,
)
from liquidation.store.postgres import SQL
from liquidation.store.postgres.connection import Rows, Statement, Transaction
from liquidation.store.postgres.states import (
    about,
    active_claim,
    bounded,
    is_cut,
    lock_accounts,
    written,
)
from liquidation.store.records import liquidation_text

_Found = Mapping[int, Any]


class Puts:
    """Snapshots on their way into the store, and what became of each."""

    def __init__(
        self, snapshots: Sequence[Liquidation], request_ids: Sequence[str] | None = None
    ) -> None:
        """One that came with a request_id is stored only where no claim has that."""
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
        """What stores them, where their accounts are locked; `asked` names their ids."""
        return [
            (SQL["stored_liquidations"], asked),
            *((SQL["store_liquidations"], {"rows": written(each)}) for each in self._waves),
        ]

    def outcomes(self, answers: Sequence[Rows]) -> list[PutResult | None]:
        """What became of each, in order; None where it is stored for another account.

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
            # They come without them again; each call has nothing of its own stored then.
            await transaction.roll_back()
            answers |= {left[place]: error for place, error in refused.items()}
            continue
        # Also where nothing was changed: what is told as stored is safe then, whoever stored it.
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


async def get(transaction: Transaction, liquidation_id: int) -> Liquidation | None:
    """An open liquidation; see `Store.get`."""
    (rows,) = await transaction.ask(
        (SQL["get_liquidation"], {"liquidation_id": liquidation_id}), commit=True
    )
    return liquidation_from_record(rows[0][0]) if rows else None


async def page(transaction: Transaction, account_id: str, after: int, size: int) -> Page:
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


async def close(transaction: Transaction, liquidation_id: int) -> Liquidation | None:
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
