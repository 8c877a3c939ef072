"""Stores that are moved: how they are filled, moved, and looked at after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from liquidation.rules.model import Claim, ClaimState
from liquidation.store.base import ClaimFilter, StateQuery
from liquidation.store.copy import Copied, copy
from liquidation.store.sqlite.connections import StoreClock
from tests.clocks import Clock
from tests.store.builders import (
    LEASE_S,
    begin,
    begin_request,
    claimed,
    of_account,
    snapshot,
    with_account,
)
from tests.store.stores import AwaitedStore, connected

ACCOUNTS = 12


async def moved(path: Path, dsn: str, clock: StoreClock) -> Copied:
    async with connected(dsn) as connection:
        return await copy(path, connection, clock)


async def moving_claim(store: AwaitedStore, number: int, lease_s: int = LEASE_S) -> Claim:
    """A claim on the liquidation of that number, which is put with it."""
    return await claimed(store, snapshot=of_account(number), lease_s=lease_s)


async def fill(store: AwaitedStore, clock: Clock) -> None:
    """Claims in every state, and what claims leave behind."""
    completed, cancelled, forced, renewed, running, gone = [
        await moving_claim(store, number) for number in range(1, 7)
    ]
    await store.end(completed.claim_id, completed.fencing_token, ClaimState.COMPLETED, "")
    await store.end(cancelled.claim_id, cancelled.fencing_token, ClaimState.CANCELLED, "as it is")
    await store.end(forced.claim_id, None, ClaimState.CANCELLED, "Grüße, 清算")
    clock.advance(LEASE_S - 5)
    await store.renew(renewed.claim_id, renewed.fencing_token, 60_000_000)
    clock.advance(10)
    # Those of `running` and `gone` are over by now; one of them is written down.
    assert len(await store.expire(1)) == 1
    await moving_claim(store, 7)
    await store.put([with_account(), snapshot(1, revision=2), snapshot(8), of_account(9)])
    await store.close_liquidation(8)
    assert {running.account_id, gone.account_id} == {"account-5", "account-6"}


async def everything(store: AwaitedStore) -> dict[str, Any]:
    """All that a caller can learn from a store."""
    claims = (await store.claims()).claims
    numbers = range(1, ACCOUNTS + 1)
    return {
        "claims": claims,
        "histories": [await store.history(each.claim_id) for each in claims],
        # Which leases are written down on the way is an engine's own affair.
        "known": [
            replace(await begin(store, begin_request(each.request_id)), expired=())
            for each in claims
        ],
        "liquidations": (await store.page("", 0, 1000)).liquidations,
        "states": await store.states(
            [StateQuery(number, f"account-{number}") for number in numbers]
        ),
        "states of accounts": await store.states(
            [StateQuery(99, "nobody", f"account-{number}") for number in numbers]
        ),
        "active": await store.count_active(),
        "in state": [
            (await store.claims(ClaimFilter(state=state), None, 1000)).claims
            for state in ClaimState
        ],
    }


async def contents(dsn: str) -> dict[str, list[Any]]:
    """Every row of every table, and how far the sequences are."""
    async with connected(dsn) as connection:
        held = {
            name: await (await connection.execute(f"SELECT * FROM {name} ORDER BY 1")).fetchall()
            for name in ("account", "liquidation", "claim", "claim_event")
        }
        held["sequences"] = await (
            await connection.execute("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")
        ).fetchall()
    return held


async def trigger(dsn: str, when: str, does: str) -> None:
    """Lets the target do something of its own with each row."""
    async with connected(dsn) as connection:
        await connection.execute(
            "CREATE FUNCTION testing.own() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {does}; END $$"
        )
        await connection.execute(
            f"CREATE TRIGGER own {when} FOR EACH ROW EXECUTE FUNCTION testing.own()"
        )
