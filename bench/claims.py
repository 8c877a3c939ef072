"""Rounds of calls, of contestants that take turns, and the figures of them.

A figure is a ratio of medians of interleaved rounds: a machine that is busy for a while slows all
contestants alike.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, islice
from typing import Final

from liquidation.rules.model import Decision, Liquidation, Position, StoredState, Terms, Tier
from liquidation.store.base import BeginRequest, Store

__all__ = ["IN_FLIGHT", "NUMBERS", "Call", "Measured", "Round", "begins", "in_turn", "round_of"]

IN_FLIGHT: Final = 64
# So long that no lease runs out in the middle of a round.
LEASE_S: Final = 300

# No two claims of a run are on one account.
NUMBERS: Final = count(1)

# What is measured, about the thing with that number.
Call = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Round:
    """One round of calls: how many a second, and how long each took (seconds)."""

    per_second: float
    each: list[float]


async def round_of(
    call: Call, calls: int, in_flight: int, numbers: Iterator[int] = NUMBERS
) -> Round:
    """Makes `calls` calls, each with a number of its own, `in_flight` at a time."""
    times: list[float] = []
    left = iter(list(islice(numbers, calls)))

    async def caller() -> None:
        for number in left:
            begun = time.perf_counter()
            await call(number)
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return Round(calls / (time.perf_counter() - begun), times)


@dataclass(frozen=True)
class Measured:
    """The rounds of each contestant, by its name and how many calls were in flight."""

    rounds: dict[tuple[str, int], list[Round]] = field(default_factory=dict)

    def per_second(self, name: str, in_flight: int) -> float:
        """Median of the rounds, calls a second."""
        return statistics.median(each.per_second for each in self.rounds[name, in_flight])

    def p50(self, name: str, in_flight: int) -> float:
        """Median of the rounds' medians, seconds."""
        return statistics.median(
            statistics.median(each.each) for each in self.rounds[name, in_flight]
        )

    def p99(self, name: str, in_flight: int) -> float:
        """Median of the rounds' 99th percentiles, seconds."""
        return statistics.median(
            percentile(each.each, 0.99) for each in self.rounds[name, in_flight]
        )

    def absolute(self) -> dict[str, dict[str, float]]:
        """The figures of this machine, by contestant."""
        return {
            f"{name}, {in_flight} in flight": {
                "per_second": round(self.per_second(name, in_flight)),
                "p50_ms": round(1000 * self.p50(name, in_flight), 2),
                "p99_ms": round(1000 * self.p99(name, in_flight), 2),
            }
            for name, in_flight in sorted(self.rounds, key=lambda key: key[1])
        }

    def ratios(self, pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, float]]:
        """Of each pair of contestants, the first against the second."""
        in_flights = sorted({in_flight for _, in_flight in self.rounds})
        return {
            f"{name} / {baseline}": {
                f"{what} at {in_flight}": round(
                    figure(name, in_flight) / figure(baseline, in_flight), 3
                )
                for in_flight in in_flights
                for what, figure in (
                    ("rate", self.per_second),
                    ("p50", self.p50),
                    ("p99", self.p99),
                )
            }
            for name, baseline in pairs
        }


def percentile(times: Sequence[float], part: float) -> float:
    """The time that this part of the calls did not exceed."""
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


async def in_turn(
    contestants: Mapping[str, Call],
    rounds: int,
    calls: int,
    numbers: Iterator[int] = NUMBERS,
) -> Measured:
    """Rounds of `calls` calls at 64 in flight, and of a quarter of them at 1.

    Each contestant goes first equally often. A round before the first opens the connections, and
    lets the server plan its statements for good.
    """
    measured = Measured()
    names = list(contestants)
    for call in contestants.values():
        await round_of(call, calls, IN_FLIGHT, numbers)
    for number in range(rounds):
        first = number % len(names)
        for in_flight in (1, IN_FLIGHT):
            taken = calls if in_flight > 1 else max(calls // 4, 8)
            for name in names[first:] + names[:first]:
                done = await round_of(contestants[name], taken, in_flight, numbers)
                measured.rounds.setdefault((name, in_flight), []).append(done)
    return measured


def begins(store: Store) -> Call:
    """Begins a claim on an account of its own, with its snapshot, which the rules accept."""

    async def begin(number: int) -> None:
        terms = Terms(number, "liquidator-1", Decimal(1), Decimal(0))
        name = f"claim-{number}"
        snapshot = Liquidation(
            liquidation_id=number,
            account_id=f"account-{number}",
            tier=Tier.LOW,
            positions=(Position("PERP_BTC_USDC", Decimal("1.25"), Decimal("43210.5")),),
            margin_ratio=Decimal("0.01"),
            maintenance_margin_ratio=Decimal("0.012"),
            revision=1,
        )
        request = BeginRequest(name, name, name, terms, snapshot, LEASE_S * 1_000_000)
        begun = await store.begin(request, _accept)
        assert begun.claim is not None

    return begin


def _accept(state: StoredState) -> Decision:
    assert state.liquidation is not None
    return Decision(None, "bench", liquidation_revision=state.liquidation.revision)
