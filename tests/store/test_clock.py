"""The clocks of a host, and what the embedded store promises by them.

A PostgreSQL server has no clock but the one on the wall: if that jumps, leases end with it.
"""

import time
import uuid
from pathlib import Path

import pytest

from liquidation.store.sqlite import connections as host
from liquidation.store.sqlite.connections import HostClock
from tests.clocks import Clock
from tests.store.builders import LEASE_S, accept_all, begin, begin_request, claimed, snapshot
from tests.store.conftest import OpenStore

HOUR_S = 3600
MICROSECOND_S = 0.000001


@pytest.fixture
def engine() -> str:
    return "sqlite"


@pytest.mark.parametrize(
    ("restarts", "jump_s", "left_s"),
    [
        (False, -HOUR_S, LEASE_S),
        (False, HOUR_S, LEASE_S),
        # Only the wall clock goes on over a restart; no lease gets longer by it.
        (True, -HOUR_S, LEASE_S),
        (True, 0, LEASE_S),
        (True, 10, LEASE_S - 10),
    ],
)
async def test_a_lease_runs_as_it_was_given_if_the_wall_clock_jumps_or_the_host_restarts(
    open_store: OpenStore, clock: Clock, restarts: bool, jump_s: float, left_s: float
) -> None:
    async with open_store() as before:
        await claimed(before, snapshot=snapshot(1))
        if restarts:
            clock.restart()
        clock.set_wall(jump_s)
        async with open_store() as after:
            clock.advance(left_s - MICROSECOND_S)
            for store in (after,) if restarts else (before, after):
                assert (await begin(store, begin_request(), accept_all)).claim is None
            clock.advance(MICROSECOND_S)
            assert await claimed(after, 1, accept_all)


def test_leases_run_on_the_time_since_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert before <= HostClock().lease_us() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    # On a host that never slept it shows what the monotonic one shows, so it is told by its name.
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", time.CLOCK_REALTIME)
    before = time.time_ns() // 1000
    assert before <= HostClock().lease_us() <= time.time_ns() // 1000

    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    before = time.monotonic_ns() // 1000
    assert before <= HostClock().lease_us() <= time.monotonic_ns() // 1000


def test_times_are_shown_in_microseconds_since_the_epoch() -> None:
    before = time.time_ns() // 1000

    assert before <= HostClock().wall_us() <= time.time_ns() // 1000


def test_a_boot_has_one_name_for_all_processes_or_else_one_for_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert HostClock().boot_id == named

    monkeypatch.setattr(host, "_BOOT_ID", tmp_path / "missing")
    one, other = HostClock().boot_id, HostClock().boot_id
    assert one != other
    assert uuid.UUID(one).version == 4
