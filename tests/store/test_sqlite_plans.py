"""What SQLite reads for a call does not grow with what is stored: it goes by an index."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from liquidation.rules.model import ClaimState
from liquidation.store.base import ClaimFilter, StateQuery
from tests.clocks import Clock
from tests.store.builders import begin, begin_request, granted, snapshot
from tests.store.stores import AwaitedStore, sqlite_store

# The one row that a question begins with is no table.
NO_TABLE = ("SCAN CONSTANT ROW", "SCAN (subquery")


def connections_of(store: AwaitedStore) -> list[sqlite3.Connection]:
    """Every connection that the store has."""
    inside = store.store
    return [
        inside._states._connection,
        inside._serving._connection,
        inside._watching._connection,
        inside._writer._connection,
    ]


async def said_by_everything(path: Path) -> list[str]:
    """Every statement of a store that is asked all that it can be asked, values filled in."""
    said: list[str] = []
    store = sqlite_store(path, Clock())
    try:
        for connection in connections_of(store):
            connection.set_trace_callback(said.append)
        await store.put([snapshot(1)])
        await store.put([snapshot(1, revision=2)])
        await store.states([StateQuery(1, "liquidator-1")])
        request = begin_request(None, snapshot(1, revision=3))
        claim = granted(await begin(store, request))
        await begin(store, request)
        await begin(store)
        await store.renew(claim.claim_id, claim.fencing_token, 1)
        await store.end(claim.claim_id, claim.fencing_token, ClaimState.COMPLETED, "")
        await store.claim(claim_id=claim.claim_id)
        await store.claim(request_id=claim.request_id)
        for wanted in (ClaimFilter(account_id="account-1"), ClaimFilter(liquidation_id=1)):
            await store.claims(wanted, None, 10)
        await store.count_active()
        await store.expire(10)
        await store.purge(1, 10)
        await store.get(1)
        await store.page("account-1", 0, 10)
        await store.close_liquidation(1)
        await store.probe()
    finally:
        await store.aclose()
    return said


def plans(path: Path, said: list[str]) -> Iterator[tuple[str, str]]:
    """How each statement finds its rows."""
    with sqlite3.connect(path) as connection:
        for statement in said:
            if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
                for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                    yield statement, step
    connection.close()


async def test_no_call_reads_a_table_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    steps = list(plans(path, await said_by_everything(path)))

    assert len(steps) > 20
    for statement, step in steps:
        assert not step.startswith("SCAN") or step.startswith(NO_TABLE), statement
