"""Where log lines go: a bounded buffer, and one thread that writes it out.

Handing a line over never waits. When the sink is slow, full or gone the lines wait in the buffer;
when the buffer is full too, further lines are dropped, counted, and told by number as soon as the
sink takes lines again. A line is written whole or not at all, also across a full disk.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Lines of a whole second at full speed fit many times; a process that cannot log does not grow.
_CAPACITY_BYTES: Final = 32 * 1024 * 1024
# How long to wait before a sink that failed is tried again, in seconds.
_RETRY_S: Final = 0.2
# How long a line waits for others, in seconds: what comes together is written together.
_GATHER_S: Final = 0.002
# Bytes handed to the system at once; one line may go beyond it.
_WRITE_BYTES: Final = 256 * 1024


@dataclass(slots=True)
class _Gap:
    """Lines that were dropped behind the first `after` of those that wait."""

    after: int
    lost: int


class FileLock:
    """Lets processes that write to one pipe or terminal do so one after the other.

    Each opens the file at `path` for itself, and keeps it: it may be removed meanwhile. The kernel
    gives a lock back when its holder dies.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Nobody else writes while the block runs."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._descriptor)


def _is_shared(descriptor: int) -> bool:
    """Whether what several processes write there may be mixed: not where a file is appended to."""
    return not stat.S_ISREG(os.fstat(descriptor).st_mode)


class LogSink:
    """Writes lines to a file descriptor, in order, without ever making the caller wait."""

    def __init__(
        self,
        descriptor: int,
        gap_line: Callable[[int], bytes],
        capacity_bytes: int = _CAPACITY_BYTES,
        turns: FileLock | None = None,
    ) -> None:
        """Takes over `descriptor`, and closes it; `gap_line` makes the line that tells a loss.

        `turns` are those of processes that write to one pipe or terminal, so that their lines stay
        whole. A file that is appended to needs none.
        """
        self._descriptor = descriptor
        self._turns = turns if turns is not None and _is_shared(descriptor) else None
        self._gap_line = gap_line
        self._capacity = capacity_bytes
        self._waiting: list[bytes] = []
        self._gaps: list[_Gap] = []
        # Those that the thread has taken count as waiting until they are written.
        self._waiting_bytes = 0
        self._in_hand = 0
        self._next: int | None = None
        self._lost = 0
        self._resting = False
        self._closing = False
        self._given_up = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines were dropped so far."""
        return self._lost

    def write(self, line: bytes) -> None:
        """Takes a line, its newline included; drops and counts it where the buffer is full."""
        with self._lock:
            if self._closing or self._waiting_bytes + len(line) > self._capacity:
                self._drop()
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            if self._resting:
                self._resting = False
                self._changed.notify()

    def switch_to(self, descriptor: int) -> None:
        """Takes over another descriptor; lines go there from now on, and the old one is closed."""
        with self._changed:
            if self._next is not None:
                os.close(self._next)
            self._next = descriptor
            self._changed.notify()

    def close(self, patience_s: float) -> int:
        """Writes what is waiting, for at most `patience_s`; returns how many lines are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience_s)
        with self._changed:
            self._given_up = True
            self._changed.notify()
            return self._lost + len(self._waiting) + self._in_hand

    def _drop(self) -> None:
        self._lost += 1
        if self._gaps and self._gaps[-1].after == len(self._waiting):
            self._gaps[-1].lost += 1
        elif not self._closing:
            self._gaps.append(_Gap(len(self._waiting), 1))

    def _run(self) -> None:
        try:
            while self._await_lines():
                # Meanwhile no line wakes this thread, which takes the interpreter from the calls.
                time.sleep(_GATHER_S)
                if not self._write_all(*self._take()):
                    return
        finally:
            os.close(self._descriptor)

    def _await_lines(self) -> bool:
        """Returns when lines are waiting; False where there will be no more."""
        with self._changed:
            self._switch()
            while not (self._waiting or self._gaps):
                if self._closing:
                    return False
                self._resting = True
                self._changed.wait()
                self._switch()
            return True

    def _switch(self) -> None:
        """Goes over to the next descriptor, between lines."""
        if self._next is not None:
            os.close(self._descriptor)
            self._descriptor, self._next = self._next, None

    def _take(self) -> tuple[list[bytes], list[_Gap]]:
        """All that is waiting."""
        with self._changed:
            self._switch()
            lines, self._waiting = self._waiting, []
            gaps, self._gaps = self._gaps, []
            self._in_hand = len(lines)
            return lines, gaps

    def _write_all(self, lines: list[bytes], gaps: list[_Gap]) -> bool:
        """Writes lines, and tells each gap at its place; False where the rest was given up."""
        begun = 0
        for gap in gaps:
            if not (self._write_lines(lines[begun : gap.after]) and self._write_gap(gap)):
                return False
            begun = gap.after
        return self._write_lines(lines[begun:])

    def _write_gap(self, gap: _Gap) -> bool:
        told = self._gap_line(gap.lost)
        with self._changed:
            self._waiting_bytes += len(told)
        return self._write_out(told, 0)

    def _write_lines(self, lines: list[bytes]) -> bool:
        begun = size = 0
        for end, line in enumerate(lines, 1):
            size += len(line)
            if size >= _WRITE_BYTES or end == len(lines):
                if not self._write_out(b"".join(lines[begun:end]), end - begun):
                    return False
                begun, size = end, 0
        return True

    def _write_out(self, piece: bytes, lines: int) -> bool:
        """Writes all of `piece`, however long the sink takes; False where it was given up."""
        rest = memoryview(piece)
        behind = self._in_hand - lines
        with self._turns.taken() if self._turns is not None else nullcontext():
            while rest:
                try:
                    written = os.write(self._descriptor, rest)
                except OSError as error:
                    if not self._worth_waiting(error):
                        return False
                    continue
                rest = rest[written:]
                with self._changed:
                    self._waiting_bytes -= written
                    self._in_hand = behind + min(lines, bytes(rest).count(b"\n"))
        return True

    def _worth_waiting(self, error: OSError) -> bool:
        """Waits before the next try; False where nobody is there to wait for it any more."""
        if error.errno == errno.EINTR:
            return True
        with self._changed:
            if not self._given_up:
                self._changed.wait(_RETRY_S)
            return not self._given_up
