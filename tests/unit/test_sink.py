"""The sink never makes the caller wait, and every line that is lost is told."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from liquidation.decisionlog.sink import LogSink

PATIENT_S = 30.0


def gap_line(lost: int) -> bytes:
    return b"LOST %d\n" % lost


def line(number: int, size: int = 100) -> bytes:
    return b"%d" % number + b"." * (size - len(str(number)) - 1) + b"\n"


def open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds one page until somebody reads it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    # The sink closes the other end; a sink that is stuck in it is freed by this.
    with contextlib.suppress(OSError):
        os.close(reading)


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    sink = LogSink(open_log(tmp_path / "log"), gap_line)
    lines = [line(number) for number in range(20_000)]

    for each in lines:
        sink.write(each)

    assert sink.close(PATIENT_S) == 0
    assert (tmp_path / "log").read_bytes() == b"".join(lines)


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")

    sink = LogSink(open_log(tmp_path / "log"), gap_line)
    sink.write(b"after\n")
    sink.close(PATIENT_S)

    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = LogSink(writing, gap_line, capacity_bytes=50_000)

    for number in range(2_000):
        sink.write(line(number))
    lost = sink.lost

    # 500 lines fit the buffer; none was written past the pipe's page.
    assert lost == 1_500
    received = _drain(reading, until=gap_line(lost))
    assert received == b"".join(line(number) for number in range(500)) + gap_line(lost)


def test_once_somebody_reads_again_lines_go_on_behind_the_gap(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = LogSink(writing, gap_line, capacity_bytes=10_000)
    for number in range(200):
        sink.write(line(number))
    assert sink.lost == 100

    first = _drain(reading, until=gap_line(100))
    sink.write(b"again\n")
    rest = _drain(reading, until=b"again\n")

    assert first.endswith(line(99) + gap_line(100))
    assert rest == b"again\n"
    assert sink.lost == 100


def test_closing_gives_a_stuck_sink_up_and_counts_what_it_held(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    os.write(writing, bytes(4096))
    sink = LogSink(writing, gap_line, capacity_bytes=100_000)
    for number in range(500):
        sink.write(line(number))

    assert sink.close(0.05) == 500


def test_a_reader_that_went_away_loses_lines_and_raises_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    sink = LogSink(writing, gap_line, capacity_bytes=1_000)

    for number in range(100):
        sink.write(line(number))

    assert sink.lost >= 90
    assert sink.close(0.05) == 100


FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from liquidation.decisionlog.sink import LogSink

path = Path(sys.argv[1])
# A file may grow to 1000 bytes only: what comes then fails as on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sink = LogSink(descriptor, lambda lost: b"LOST %d\\n" % lost, 700)
for number in range(30):
    sink.write(b"%02d" % number + b"." * 67 + b"\\n")
    while number < 14 and path.stat().st_size < min(70 * (number + 1), 1000):
        pass
print(sink.lost, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sink.close(30), flush=True)
"""


def test_a_full_disk_cuts_no_line_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], check=True, capture_output=True, text=True
    )

    lost, lost_at_the_end = (int(word) for word in done.stdout.split())
    lines = path.read_bytes().splitlines()
    assert lost == lost_at_the_end > 0
    assert lines[-1] == b"LOST %d" % lost
    assert [int(each[:2]) for each in lines[:-1]] == list(range(30 - lost))
    assert all(len(each) == 69 for each in lines[:-1])


def _drain(reading: int, until: bytes) -> bytes:
    received = b""
    while not received.endswith(until):
        received += os.read(reading, 65_536)
    return received
