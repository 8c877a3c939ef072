"""Runs targets, each in a process of its own, and reads what libFuzzer tells of them."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.attacks.fuzz.target import target_of

ROOT: Final = Path(__file__).parents[3]
CORPUS: Final = Path(__file__).parent / "corpus"
# Inputs that once came to something wrong, by the name of what it was.
FOUND: Final = Path(__file__).parent / "found"
# What a target writes need not reach a disk: a store there would wait for it most of the time.
_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
# Seconds that one input may take, and MiB that the process may.
_TIMEOUT_S: Final = 10
_MAX_RSS_MB: Final = 1024
# Behind so much of its time a target has made what it makes once.
_WARM: Final = 0.2
_STATUS: Final = re.compile(
    r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/.*? exec/s: (\d+) rss: (\d+)Mb"
)
HEAD: Final = (
    f"{'target':9}{'executions':>11}{'exec/s':>8}{'branches':>9}{'features':>9}{'corpus':>8}"
    f"{'MiB warm':>10}{'MiB end':>9}{'findings':>9}"
)


class _Status(NamedTuple):
    """A line of libFuzzer's, and when it came, in seconds; memory in MiB."""

    after_s: float
    executions: int
    branches: int
    features: int
    corpus: int
    per_second: int
    rss: int


@dataclass(frozen=True)
class Figures:
    """What came of one target: how it stood when it was warm, and at the end."""

    target: str
    warm: _Status
    end: _Status
    findings: tuple[Path, ...]
    log: Path

    def row(self) -> str:
        """A line of the table that `HEAD` begins."""
        end = self.end
        return (
            f"{self.target:9}{end.executions:>11}{end.per_second:>8}{end.branches:>9}"
            f"{end.features:>9}{end.corpus:>8}{self.warm.rss:>10}{end.rss:>9}"
            f"{len(self.findings):>9}"
        )


def engine(name: str, directory: Path, arguments: Iterable[str]) -> list[str]:
    """The command that runs a target with these arguments of libFuzzer."""
    return [sys.executable, "-m", "tests.attacks.fuzz.engine", name, str(directory), *arguments]


def run(name: str, seconds: int, seed: int, directory: Path) -> Figures:
    """Fuzzes one target for so long; what it finds stays in `directory`, and its log too.

    Raises:
        RuntimeError: it ended before its time, and told of no input that was at fault.
    """
    grown, begun_with, found = (directory / each for each in ("grown", "begun-with", "found"))
    for each in (grown, begun_with, found):
        each.mkdir(parents=True)
    for data in (*target_of(name).seeds(), *kept(name)):
        (begun_with / hashlib.sha1(data).hexdigest()).write_bytes(data)
    arguments = (
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_MAX_RSS_MB}",
        f"-artifact_prefix={found}/",
        str(grown),
        str(begun_with),
    )
    log = directory / "log"
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        code, told = _statuses(engine(name, Path(scratch), arguments), log)
    findings = tuple(sorted(found.iterdir()))
    if not told or (code and not findings):
        raise RuntimeError(f"{name} ended with {code}: see {log}")
    warm = next((each for each in told if each.after_s >= seconds * _WARM), told[-1])
    return Figures(name, warm, told[-1], findings, log)


def kept(name: str) -> list[bytes]:
    """The inputs of a target that are kept, with those that once found something."""
    places = (CORPUS / name, FOUND / name)
    return [path.read_bytes() for place in places for path in sorted(place.glob("*"))]


def keep(name: str, directories: Sequence[Path], work: Path) -> int:
    """Keeps the fewest of these inputs that reach all that they reach; returns how many."""
    chosen = work / "chosen"
    chosen.mkdir(parents=True)
    arguments = ("-merge=1", "-use_counters=0", str(chosen), *map(str, directories))
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY) as scratch,
        (work / "merge.log").open("w") as log,
    ):
        command = engine(name, Path(scratch), arguments)
        subprocess.run(command, cwd=ROOT, stderr=log, check=True)
    shutil.rmtree(CORPUS / name, ignore_errors=True)
    shutil.copytree(chosen, CORPUS / name)
    return len(list(chosen.iterdir()))


def _statuses(command: Sequence[str], log: Path) -> tuple[int, list[_Status]]:
    """Runs to the end; the exit status, and what was told on the way."""
    told = []
    begun = time.monotonic()
    with (
        log.open("w") as file,
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            file.write(line)
            if status := _STATUS.match(line):
                told.append(_Status(time.monotonic() - begun, *map(int, status.groups())))
    return process.returncode, told
