"""What goes on beside all calls: keeping health true, and settling claims whose lease is over."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2

from liquidation.api.claims import Claims
from liquidation.api.shedding import Shedding
from liquidation.config.watched_file import Reloadable
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.store.base import Store, StoreUnavailableError

__all__ = ["LIVE", "PROBLEM_KEY", "Health", "HealthServicer", "LeaseReaper", "shed"]

# How often the store is asked whether it answers, in seconds.
_PROBE_S: Final = 0.5
# How often leases that ran out are written down, in seconds; they are over before that.
_SETTLE_S: Final = 1.0
# How often it is looked how much memory the process holds, in seconds.
_SHED_S: Final = 0.1

# How long a caller who watches an entry may take to hear that the server ends, in seconds.
_LISTEN_S: Final = 0.5

# The health entry of the process itself, for those who restart one that hangs.
LIVE: Final = "live"
_STORE: Final = "store"
# The trailing metadata of a health check in which each problem is told.
PROBLEM_KEY: Final = "liquidation-problem"
# Characters of a problem that are told there.
_LONGEST_PROBLEM: Final = 200

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class _Watch:
    """A caller who watches an entry, and whether they know that it does not serve."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._knows = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def write(self, response: health_pb2.HealthCheckResponse) -> None:
        """Tells the caller; it is all that the servicer does with a context."""
        await self._context.write(response)
        if response.status == _SERVING:
            self._knows.clear()
        else:
            self._knows.set()

    async def end(self) -> None:
        """Ends the watch once the caller knows, or does not listen."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LISTEN_S):
                await self._knows.wait()
        if self.task is not None:
            self.task.cancel()


class HealthServicer(health.aio.HealthServicer):
    """The standard health service; a check also tells what is wrong, in its trailing metadata."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, str] = {}
        self._watches: set[_Watch] = set()
        self._ended = False

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """The status of one entry, and every problem that there is."""
        context.set_trailing_metadata(
            tuple((PROBLEM_KEY, _header(*each)) for each in self.problems.items())
        )
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """The status of one entry, and each change of it, until the server drains."""
        watch = _Watch(context)
        as_context: Any = watch
        watch.task = asyncio.ensure_future(super().Watch(request, as_context))
        self._watches.add(watch)
        try:
            await watch.task
        except asyncio.CancelledError:
            if not self._ended:
                raise
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("The server ends.")
        finally:
            self._watches.discard(watch)

    async def end(self) -> None:
        """Tells everybody that nothing is served any more, and ends all watches.

        Clients that look after their channels' health keep one open for as long as they live.
        """
        await self.enter_graceful_shutdown()
        self._ended = True
        await asyncio.gather(*(watch.end() for watch in self._watches))


def _header(name: str, problem: str) -> str:
    """A problem as the value of a header: one line of printable ASCII."""
    line = " ".join(f"{name}: {problem}".split())
    printable = "".join(each if each.isprintable() else "?" for each in line)
    return printable.encode("ascii", "replace").decode()[:_LONGEST_PROBLEM]


async def shed(shedding: Shedding, log: DecisionLog) -> None:
    """Ends calls that wait for their callers where memory is short, until it is cancelled."""
    while True:
        await asyncio.sleep(_SHED_S)
        calls, held = await shedding.look()
        if calls:
            log.note("warning", "calls_shed", calls=calls, resident_bytes=held)


class LeaseReaper:
    """Tells leases that ran out and forgets old claims; each round writes, and so asks the store.

    `problem` is why the last round could not, "" where it could.
    """

    def __init__(self, claims: Claims, log: DecisionLog) -> None:
        self._claims = claims
        self._log = log
        self.problem = ""

    async def run(self) -> None:
        """Settles in rounds, until it is cancelled."""
        while True:
            try:
                await self._claims.settle()
            except StoreUnavailableError as error:
                self.problem = str(error)
                self._log.store_failed(self.problem, "settling_failed")
            except Exception as error:  # noqa: BLE001 - the background goes on, the fault is told
                self._log.fault("", error)
            else:
                self.problem = ""
            await asyncio.sleep(_SETTLE_S)


class Health:
    """Keeps every entry of health true.

    A service serves exactly while the store answers what the service asks of it: reads, and for
    one that changes something writes too; the overall entry and `store` while it answers both. Each
    file that is read again when it changes has an entry of its own, which turns with it alone.
    """

    def __init__(
        self,
        store: Store,
        settling: LeaseReaper,
        files: Sequence[Reloadable],
        servicer: HealthServicer,
        services: Mapping[str, bool],
        log: DecisionLog,
        instruments: Instruments,
    ) -> None:
        """`services` are the names of the services, and whether each writes to the store."""
        self._store = store
        self._settling = settling
        self._files = files
        self._servicer = servicer
        self._services = {**services, health.OVERALL_HEALTH: True}
        self._log = log
        self._instruments = instruments
        self._shown: dict[str, bool] = {}

    async def refresh(self) -> None:
        """Asks the store once, and looks at the files; tells what has changed."""
        unread = ""
        try:
            await self._store.probe()
            self._instruments.claims_active(await self._store.count_active())
        except StoreUnavailableError as error:
            unread = str(error)
        problem = unread or self._settling.problem
        if problem and self._shown.get(_STORE, True):
            self._log.store_failed(problem)
        elif not problem and self._shown.get(_STORE) is False:
            self._log.note("info", "store_available")
        for name, writes in self._services.items():
            await self._show(name, serving=not (problem if writes else unread))
        self._instruments.serves(not problem)
        await self._show(LIVE, serving=True)
        await self._tell(_STORE, problem)
        for each in self._files:
            await self._tell(each.name, each.problem)

    async def run(self) -> None:
        """Asks again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_PROBE_S)
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - the background goes on, the fault is told
                self._log.fault("", error)

    async def _tell(self, name: str, problem: str) -> None:
        if problem:
            self._servicer.problems[name] = problem
        else:
            self._servicer.problems.pop(name, None)
        await self._show(name, serving=not problem)

    async def _show(self, name: str, *, serving: bool) -> None:
        if self._shown.get(name) is not serving:
            self._shown[name] = serving
            await self._servicer.set(name, _SERVING if serving else _NOT_SERVING)
