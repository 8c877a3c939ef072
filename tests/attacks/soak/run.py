"""One run: a server, its callers, what is done to it meanwhile, and what it holds."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.attacks.soak.books import books_of
from tests.attacks.soak.callers import ACCOUNTS, Caller
from tests.attacks.soak.calling import Dialled, Pace
from tests.attacks.soak.figures import Bound, Point, at_equal_age, broken
from tests.attacks.soak.server import Resources, Server, until
from tests.attacks.soak.streamers import Streamer
from tests.attacks.soak.tally import Tally
from tests.attacks.torture.engines import engine

_ROLES: Final = ("supervisor", "worker")
RESTARTS: Final = ("roll", "kill a worker", "stop and start", "kill all")
# Of the run: how much of it has restarts. Growth shows best where a process is left alone.
_RESTLESS: Final = 0.6
# How much longer than it is kept a claim may be there: purges come once in a second, and none
# while the server is away.
_LATE_S: Final = 20
# The ages at which runs of a process are compared with one another.
_AGE_S: Final = (60, 120)
# By how many threads a process may differ from one that has just begun: gRPC keeps some for later.
_SPARE_THREADS: Final = 2
# Connections to a database stay open for a while after they were needed.
_SPARE_SOCKETS: Final = {"sqlite": 0, "postgres": 8}


@dataclass(frozen=True)
class Plan:
    """How long and how hard."""

    engine: str = "sqlite"
    seconds: int = 1800
    restarts: int = 7
    per_second: int = 300
    workers: int = 2
    callers: int = 16
    streamers: int = 3
    retention_s: int = 60
    sample_s: float = 5.0
    rotate_s: float = 20.0
    reload_s: float = 15.0
    seed: int = 1


@dataclass
class Report:
    """What came of a run."""

    tally: Tally
    figures: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list))
    restarts: list[str] = field(default_factory=list)
    rotations: int = 0
    reloads: int = 0
    problems: list[str] = field(default_factory=list)


def bounds_of(plan: Plan) -> dict[str, Bound]:
    """What each figure of a run may do."""
    bounds: dict[str, Bound] = {}
    for role in _ROLES:
        bounds |= {
            # It levels off in the first minutes of a process.
            f"{role}: own memory, MiB": Bound(per_hour=8, most=160, warm_up_s=180),
            f"{role}: own memory at equal age, MiB": Bound(per_hour=12),
            # gRPC takes one more now and then; one step in ten minutes may look like 12 an hour.
            f"{role}: threads": Bound(per_hour=12, most=24, warm_up_s=60),
            f"{role}: sockets": Bound(per_hour=12, most=plan.callers * 4 + 32, warm_up_s=30),
            f"{role}: other descriptors": Bound(per_hour=0.5, most=64, warm_up_s=30),
        }
    # Every claim leaves one row and some events; what is over goes after its time.
    return bounds | {
        "age of the oldest ended claim, s": Bound(most=plan.retention_s + _LATE_S),
        "claim events of no claim": Bound(most=0),
        "accounts": Bound(most=plan.callers * (ACCOUNTS + 3)),
        # Liquidations that are closed stay.
        "database, MiB": Bound(per_hour=6, most=16, warm_up_s=3 * plan.retention_s),
        "write-ahead log, MiB": Bound(most=16),
        "series of metrics": Bound(most=700 * plan.workers),
    }


async def soak(plan: Plan, home: Path) -> Report:
    """Runs the plan with files in `home`."""
    with engine(plan.engine, home) as store:
        server = Server(home, workers=plan.workers, day_s=plan.retention_s, store=store.location)
        await server.start()
        try:
            run = _Run(plan, server, store.location)
            await run.through()
        finally:
            await server.stop()
    report = run.report
    report.tally.read(home / "decisions.log")
    report.problems += report.tally.verdict(server.killed)
    for role in _ROLES:
        own = report.figures[f"{role}: own memory, MiB"]
        report.figures[f"{role}: own memory at equal age, MiB"] = at_equal_age(own, *_AGE_S)
    report.problems += broken(report.figures, bounds_of(plan))
    return report


class _Run:
    def __init__(self, plan: Plan, server: Server, store: str) -> None:
        self.report = Report(Tally())
        self._plan = plan
        self._server = server
        self._books = books_of(store)
        self._chance = random.Random(f"{plan.seed}-run")
        self._begun = time.monotonic()
        self._born: dict[int, float] = {}
        self._ended = asyncio.Event()
        # Lines are read in their order, so one file after the other.
        self._rotating = asyncio.Lock()

    async def through(self) -> None:
        """The run, from a server that has just begun to one that nobody calls any more."""
        fresh = self._held()
        plan, tally = self._plan, self.report.tally
        pace = Pace(plan.per_second)
        told = (self._server, pace, tally, plan.seed)
        async with AsyncExitStack() as opened:
            callers: list[Dialled] = [
                *(Caller(number, *told) for number in range(1, plan.callers + 1)),
                *(Streamer(-number, *told) for number in range(1, plan.streamers + 1)),
            ]
            for each in callers:
                opened.push_async_callback(each.close)
            async with asyncio.TaskGroup() as running:
                for each in callers:
                    running.create_task(each.run(self._ended))
                running.create_task(self._again(plan.sample_s, self._sample))
                running.create_task(self._again(plan.rotate_s, self._rotate))
                running.create_task(self._again(plan.reload_s, self._reload))
                await self._restart()
                await asyncio.sleep(self._begun + plan.seconds - time.monotonic())
                self._ended.set()
        await self._at_rest(fresh)

    async def _again(self, every_s: float, act: Callable[[], Awaitable[None]]) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._ended.wait()
            await act()

    async def _restart(self) -> None:
        """Restarts of every kind in turn, evenly over the first part of the run."""
        plan, server = self._plan, self._server
        for number in range(plan.restarts):
            due = plan.seconds * _RESTLESS * (number + 1) / plan.restarts
            await asyncio.sleep(self._begun + due - time.monotonic())
            kind = RESTARTS[number % len(RESTARTS)]
            with self.report.tally.outage():
                # The log is rotated in the moment in which workers begin, which is the hardest.
                if kind == "roll":
                    await asyncio.gather(server.replace(), self._rotate())
                elif kind == "kill a worker":
                    doomed = self._chance.choice(server.workers())
                    await asyncio.gather(server.kill_worker(doomed), self._rotate())
                elif kind == "stop and start":
                    await server.stop_and_start()
                else:
                    await server.kill_and_start()
            self.report.restarts.append(kind)

    async def _rotate(self) -> None:
        async with self._rotating:
            moved = await self._server.rotate()
            self._note("log since it was rotated, MiB", moved.stat().st_size / 2**20)
            self.report.tally.read(moved)
            moved.unlink()
            self.report.rotations += 1

    async def _reload(self) -> None:
        await self._server.reload()
        self.report.reloads += 1

    async def _sample(self) -> None:
        async with self._server.signals:
            books = await asyncio.to_thread(self._books)
            scrape = await self._server.scrape()
            held = self._held()
        for name, value in books.items():
            self._note(name, value)
        self._note("series of metrics", sum(len(each.samples) for each in scrape.families))
        for pid, (role, resources) in held.items():
            for name, value in resources.figures.items():
                self._note(f"{role}: {name}", value, pid)

    def _held(self) -> dict[int, tuple[str, Resources]]:
        """What each process holds now, by its id."""
        found = {pid: (role, Resources.of(pid)) for pid, role in self._server.processes.items()}
        return {pid: (role, held) for pid, (role, held) in found.items() if held is not None}

    def _note(self, name: str, value: float, pid: int | None = None) -> None:
        at = time.monotonic() - self._begun
        born = 0 if pid is None else self._born.setdefault(pid, at)
        self.report.figures[name].append(Point(at, value, str(pid or ""), at - born))

    async def _at_rest(self, fresh: Mapping[int, tuple[str, Resources]]) -> None:
        """Waits until all is as with a server that nobody has called yet, or tells what is not."""
        most = dict(fresh.values())
        spare = _SPARE_SOCKETS[self._plan.engine]

        def left() -> list[str]:
            return [
                f"the {role} {pid} has {held}, and had {most[role]} when it was fresh"
                for pid, (role, held) in self._held().items()
                if held.sockets > most[role].sockets + spare
                or held.other_descriptors > most[role].other_descriptors
                or held.threads > most[role].threads + _SPARE_THREADS
            ]

        try:
            await until(lambda: not left(), "descriptors and threads return to their number")
            patience_s = self._plan.retention_s + _LATE_S
            await until(lambda: self._books()["claims"] == 0, "all claims are purged", patience_s)
        except TimeoutError as error:
            self.report.problems += [str(error), *left()]
        # A file that is read in the moment in which it is written anew may be found spoiled.
        unread = (await self._server.scrape()).counted("liquidation_reload_problem")
        self.report.problems += [f"what {each} say now is not in force" for each in unread]
        await self._sample()
