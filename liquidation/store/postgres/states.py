"""What is known about requests in PostgreSQL, many at once, and the locks under which it holds.

What is asked about goes to the server as one JSON array. Every change of an account's rows is made
while its row in `account` is locked. The rows are locked in the order of the ids, so that no two
transactions wait for each other. What is read after the lock holds until the commit.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import orjson

from liquidation.rules.leases import lease_left_s
from liquidation.rules.model import ActiveClaim, Liquidation, StoredState
from liquidation.rules.record import liquidation_from_record
from liquidation.store.base import MAX_PAGE_BYTES, StateQuery
from liquidation.store.postgres import SQL
from liquidation.store.postgres.connection import Rows, Statement, Transaction
from liquidation.store.records import microseconds


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


def states(asked: Mapping[str, Any]) -> Statement:
    """What is known about each, in order, all at one moment."""
    return SQL["states"], asked


def state_from(row: Sequence[Any], fresh: Liquidation | None = None) -> StoredState:
    """What a row of `states` says. `fresh` is its snapshot, if it was stored just now."""
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
    (rows,) = await transaction.ask(states(asked), commit=True)
    found = map(state_from, rows)
    return [list(islice(found, len(call))) for call in calls]
