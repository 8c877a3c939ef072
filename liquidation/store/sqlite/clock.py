"""The embedded store's clock: one that never jumps for leases, and the wall clock to show times."""

import time
import uuid
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class StoreClock(Protocol):
    """What the embedded store reads time from. All processes of a host agree on it."""

    @property
    def boot_id(self) -> str:
        """Names the run of the host that `lease_us` counts in."""
        ...

    def lease_us(self) -> int:
        """Microseconds on a clock that only moves forward, and at one pace; leases count on it."""
        ...

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as people read them; may jump."""
        ...


class HostClock:
    """The host's own clocks: time since boot, which goes on while the host sleeps, and UTC."""

    def __init__(self) -> None:
        # Where the kernel does not name its boot, every process counts as a boot of its own.
        self._boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else uuid.uuid4().hex
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def lease_us(self) -> int:
        return time.clock_gettime_ns(self._clock) // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000
