"""A primary that is killed under load, and its standby that takes over: no claim may be lost.

python -m tests.attacks.torture.failover --rounds 10
"""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from tests.attacks.plans import plan_of_arguments
from tests.attacks.torture.clients import Seen, load
from tests.attacks.torture.fleet import fleet
from tests.attacks.torture.history import History, violations
from tests.attacks.torture.run import aftermath
from tests.store.postgres.replication import Pair, replicated

_DATABASE: Final = "liquidation"
# How long all sidecars may take to grant claims again before the round is given up, in seconds.
_PATIENCE_S: Final = 60.0
# A standby that lost its primary looks for it again this often, not each 5 s.
_SETTINGS: Final = {"wal_retrieve_retry_interval": "100ms"}


@dataclass(frozen=True)
class Plan:
    """How often and how hard."""

    rounds: int = 10
    # Calls that are answered before the primary is killed, and after claims are granted again.
    before: int = 1000
    after: int = 1000
    sidecars: int = 3
    workers: int = 1
    clients: int = 24
    accounts: int = 8
    seed: int = 1
    # How long there is no primary before the standby is promoted, in milliseconds.
    promote_after_ms: int = 0
    # As control: the primary waits for no standby, and keeps from it what it commits at last.
    hold_back: bool = False


@dataclass(frozen=True)
class Round:
    """One failover, and the moments of it as `time.time()` gives them."""

    seen: Seen
    history: History
    killed: float
    asked: float
    promoted: float
    # By sidecar: when it first granted a claim that was sent after `asked`.
    granted: list[float]

    def between(self) -> Counter[str]:
        """How calls ended from the kill until every sidecar had granted a claim again."""
        until = max(self.granted)
        return Counter(each.how for each in self.seen.endings if self.killed <= each.ended <= until)

    def slowest_s(self) -> float:
        """The longest that a call took to end meanwhile, in seconds."""
        return max(
            each.ended - each.sent for each in self.seen.endings if each.ended >= self.killed
        )


async def fail_over(plan: Plan, directory: Path, number: int = 1) -> Round:
    """Kills the primary under load and promotes its standby, with fresh servers."""
    chance = random.Random(f"{plan.seed}-{number}")
    with replicated(_SETTINGS) as pair:
        pair.primary.create_database(_DATABASE)
        if plan.hold_back:
            _wait_for_no_standby(pair)
        flags = (f"--store={pair.dsn(_DATABASE)}", f"--workers={plan.workers}")
        async with fleet(plan.sidecars, directory, *flags) as sidecars:
            async with load(
                sidecars.addresses, clients=plan.clients, accounts=plan.accounts, seed=plan.seed
            ) as shared:
                await shared.seen.reached(plan.before)
                if plan.hold_back:
                    _hold_back(pair)
                    await shared.seen.reached(2 * plan.before)
                await asyncio.sleep(chance.uniform(0, 0.05))
                moments = await _kill_and_promote(pair, plan.promote_after_ms / 1000)
                granted = await _granted_again(shared.seen, plan.sidecars, moments[1])
                await shared.seen.reached(shared.seen.operations + plan.after)
            history = await aftermath(sidecars.addresses, shared)
        # Their data go with them: there is nothing to shut down in order.
        pair.standby.kill()
    return Round(shared.seen, history, *moments, granted)


async def _kill_and_promote(pair: Pair, after_s: float) -> tuple[float, float, float]:
    """When the primary was killed, when the standby was told, and when it took writes."""
    killed = time.time()
    await asyncio.to_thread(pair.primary.kill)
    await asyncio.sleep(after_s)
    asked = time.time()
    await asyncio.to_thread(pair.promote)
    return killed, asked, time.time()


async def _granted_again(seen: Seen, sidecars: int, since: float) -> list[float]:
    """When each sidecar first granted a claim that was sent after `since`."""

    def first(sidecar: int) -> list[float]:
        later = (each.answered for each in seen.grants[sidecar] if each.sent > since)
        return list(islice(later, 1))

    async with asyncio.timeout(_PATIENCE_S):
        await seen.until(lambda: all(map(first, range(sidecars))))
    return [at for sidecar in range(sidecars) for at in first(sidecar)]


def _wait_for_no_standby(pair: Pair) -> None:
    """Makes the standby an asynchronous one."""
    pair.primary.restart({"synchronous_standby_names": ""})
    with pair.primary.connect() as connection:
        while not _senders(connection):
            time.sleep(0.01)


def _hold_back(pair: Pair) -> None:
    """Keeps from the standby whatever the primary commits from now on."""
    with pair.primary.connect() as connection:
        for pid in _senders(connection):
            os.kill(pid, signal.SIGSTOP)


def _senders(connection: psycopg.Connection[Any]) -> list[int]:
    told = connection.execute("SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
    return [pid for (pid,) in told]


def main() -> int:
    """Fails over as told; the exit status is 1 where a promise was broken (in control: none)."""
    plan = plan_of_arguments(Plan, "torture.failover", __doc__)
    rounds, found = [], []
    for number in range(1, plan.rounds + 1):
        with tempfile.TemporaryDirectory() as directory:
            round_ = asyncio.run(fail_over(plan, Path(directory), number))
        rounds.append(round_)
        found += [f"round {number}: {each}" for each in violations(round_.history)]
        _tell(_figures([round_]) | {"round": number})
    kinds = Counter(each.split(":")[1].strip() for each in found)
    _tell(_figures(rounds) | {"rounds": plan.rounds, "violations": kinds})
    for each in found[:20]:
        sys.stderr.write(f"{each}\n")
    return int("lost" not in kinds if plan.hold_back else bool(found))


def _figures(rounds: Sequence[Round]) -> dict[str, Any]:
    between: Counter[str] = Counter()
    for each in rounds:
        between += each.between()
    return {
        "operations": sum(each.seen.operations for each in rounds),
        "granted": sum(len(each.history.found) for each in rounds),
        "promotion_s": _spread(each.promoted - each.asked for each in rounds),
        "from_kill_s": _spread(at - each.killed for each in rounds for at in each.granted),
        "from_promotion_s": _spread(at - each.asked for each in rounds for at in each.granted),
        "between": dict(between.most_common()),
        "slowest_call_s": round(max(each.slowest_s() for each in rounds), 2),
    }


def _spread(spans: Iterable[float]) -> dict[str, float]:
    known = sorted(spans)
    return {"median": round(median(known), 2), "worst": round(known[-1], 2)}


def _tell(figures: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(figures)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
