"""One run: servers, clients that do as they like, and killers."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from liquidation.v1 import claim_service_pb2 as pb
from tests.attacks.torture.calls import LEASE_S, answered, begin_request, dial
from tests.attacks.torture.clients import Load, Seen, load
from tests.attacks.torture.engines import Engine, engine
from tests.attacks.torture.fleet import Fleet, fleet
from tests.attacks.torture.history import IN_FLIGHT_S, Found, History

# Reads at once, when all is over.
_READS: Final = 32
# How long an account is asked again for a claim, when all is over.
_ASK_AGAIN_S: Final = 0.05
# Longest time in which the database is not started again after a kill.
_DOWN_S: Final = 1.0
_NO_RULE_IN_THE_WAY: Final = 'version = "control"\n[modes]\nno_claim_in_process = "off"\n'


@dataclass(frozen=True)
class Plan:
    """How long and how hard."""

    engine: str = "sqlite"
    operations: int = 50_000
    kills: int = 100
    # Of so many kills one is of all sidecars at once.
    stop_all_every: int = 10
    database_kills: int = 0
    sidecars: int = 1
    workers: int = 3
    clients: int = 24
    accounts: int = 8
    seed: int = 1
    drop_index: bool = False

    def __post_init__(self) -> None:
        if self.engine == "sqlite" and self.database_kills:
            raise ValueError("SQLite has no process of its own to kill")


@dataclass
class Deaths:
    """What was killed in a run."""

    kills: int = 0
    full_stops: int = 0
    database_kills: int = 0


async def torture(plan: Plan, directory: Path) -> tuple[Seen, Deaths, History]:
    """Runs the plan, with files in `directory`; returns what was seen and done."""
    deaths = Deaths()
    with engine(plan.engine, directory) as store:
        flags = [f"--store={store.location}", f"--workers={plan.workers}"]
        if plan.drop_index:
            # The rule asks within the transaction too: without it the index alone is in the way.
            rules = directory / "rules.toml"
            rules.write_text(_NO_RULE_IN_THE_WAY)
            flags.append(f"--rules={rules}")
        async with fleet(plan.sidecars, directory, *flags) as sidecars:
            if plan.drop_index:
                store.drop_index()
            async with load(
                sidecars.addresses, clients=plan.clients, accounts=plan.accounts, seed=plan.seed
            ) as shared:
                async with asyncio.TaskGroup() as killers:
                    killers.create_task(_kill_sidecars(plan, sidecars, shared.seen, deaths))
                    killers.create_task(_kill_database(plan, store, shared.seen, deaths))
                await shared.seen.reached(plan.operations)
            history = await aftermath(sidecars.addresses, shared)
    return shared.seen, deaths, history


async def _kill_sidecars(plan: Plan, sidecars: Fleet, seen: Seen, deaths: Deaths) -> None:
    """Kills some of them, and now and then all, evenly over the run's calls."""
    chance = random.Random(f"{plan.seed}-killer")
    for number in range(1, plan.kills + 1):
        await seen.reached(plan.operations * number // (plan.kills + 1))
        await asyncio.sleep(chance.uniform(0, 0.05))
        if number % plan.stop_all_every == 0:
            await sidecars.kill_all()
            deaths.full_stops += 1
        else:
            await sidecars.kill_one(chance)
        deaths.kills += 1


async def _kill_database(plan: Plan, store: Engine, seen: Seen, deaths: Deaths) -> None:
    """Kills the engine and starts it again after a while, evenly over the run's calls."""
    chance = random.Random(f"{plan.seed}-database")
    for number in range(1, plan.database_kills + 1):
        await seen.reached(plan.operations * number // (plan.database_kills + 1))
        await asyncio.sleep(chance.uniform(0, 0.05))
        await asyncio.to_thread(store.kill)
        await asyncio.sleep(chance.uniform(0, _DOWN_S))
        await asyncio.to_thread(store.start)
        deaths.database_kills += 1


async def aftermath(addresses: Sequence[str], shared: Load) -> History:
    """What the clients saw, and what is found of it when they have gone."""
    seen = shared.seen
    async with AsyncExitStack() as opened:
        channels = [await opened.enter_async_context(dial(address)) for address in addresses]
        granted = sorted({begin.claim_id for begin in seen.begins if begin.code == 0})
        turn = asyncio.Semaphore(_READS)

        async def find(number: int) -> Found | None:
            async with turn:
                return await _find(channels[number % len(channels)], granted[number])

        found = await asyncio.gather(*map(find, range(len(granted))))
        free = await asyncio.gather(
            *(
                _takes_a_claim(channels[account % len(channels)], account, revision + 10)
                for account, revision in enumerate(shared.revisions)
            )
        )
    stuck = [f"account-{account}" for account, takes in enumerate(free) if not takes]
    known = dict(zip(granted, found, strict=True))
    return History(LEASE_S, seen.begins, seen.changes, known, stuck)


async def _find(channel: Any, claim_id: str) -> Found | None:
    code, response = await answered(channel, "GetClaim", pb.GetClaimRequest(claim_id=claim_id))
    if code != 0:
        return None
    claim = pb.GetClaimResponse.FromString(response).claim
    state = pb.ClaimState.Name(claim.state).removeprefix("CLAIM_STATE_")
    return Found(claim_id, claim.fencing_token, state)


async def _takes_a_claim(channel: Any, account: int, revision: int) -> bool:
    """Whether an account takes a claim, once every call and every lease is over."""
    request = begin_request(f"last-{account}", account, revision)
    loop = asyncio.get_running_loop()
    until = loop.time() + IN_FLIGHT_S + LEASE_S
    while True:
        # Asked after that moment, it must take one.
        last = loop.time() > until
        code, _ = await answered(channel, "BeginClaim", request)
        if code == 0 or last:
            return code == 0
        await asyncio.sleep(_ASK_AGAIN_S)
