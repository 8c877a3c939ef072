"""The host's clocks, as the embedded store reads them."""

import time
import uuid
from pathlib import Path

import pytest

from liquidation.store.sqlite import clock
from liquidation.store.sqlite.clock import HostClock


def test_leases_count_on_the_time_since_boot_in_microseconds() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    read_us = HostClock().lease_us()

    assert before // 1000 <= read_us <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert isinstance(read_us, int)


def test_the_time_since_boot_is_the_clock_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a host that never slept it shows what the monotonic one shows, so it is told apart by name.
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", time.CLOCK_REALTIME)
    before = time.time_ns()

    read_us = HostClock().lease_us()

    assert before // 1000 <= read_us <= time.time_ns() // 1000


def test_people_are_told_microseconds_since_the_epoch() -> None:
    before = time.time_ns()

    read_us = HostClock().wall_us()

    assert before // 1000 <= read_us <= time.time_ns() // 1000
    assert isinstance(read_us, int)


def test_every_process_of_a_boot_names_it_the_same() -> None:
    named = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    assert HostClock().boot_id == HostClock().boot_id == named


def test_where_the_kernel_does_not_name_its_boot_each_process_has_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "missing")

    one, other = HostClock().boot_id, HostClock().boot_id

    assert one != other
    assert uuid.UUID(one).version == 4


def test_without_a_clock_since_boot_leases_count_on_the_monotonic_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    before = time.monotonic_ns()

    read_us = HostClock().lease_us()

    assert before // 1000 <= read_us <= time.monotonic_ns() // 1000
