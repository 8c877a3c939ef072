"""What a server uses is counted with all its processes, and one that does not start is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import resident_mib, serving, usage

BURN_S = 0.2
BURN = f"""
import sys, time
while time.process_time() < {BURN_S}: pass
print("burnt", flush=True)
sys.stdin.read()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"


def test_the_time_of_a_child_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        used, resident = usage(process.pid), resident_mib(process.pid)
        process.communicate()

    assert used.cpu_s >= BURN_S
    assert used.switches > 0
    assert resident > 1


def test_a_server_that_does_not_start_is_told_with_its_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such store')"]

    with (
        pytest.raises(RuntimeError, match=r"did not start.*no such store"),
        serving(command, {}, tmp_path / "stderr"),
    ):
        pass


def test_what_tunes_grpc_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_EXPERIMENTS", "-inherited")
    script = (
        "import json, os, sys; told = os.environ.get('GRPC_EXPERIMENTS', 'none');"
        "print(json.dumps({'addresses': [told]}), flush=True); sys.stdin.read()"
    )

    with serving([sys.executable, "-c", script], {}, tmp_path / "stderr") as (_, told):
        assert told == "none"
    tuned = {"GRPC_EXPERIMENTS": "-tuned"}
    with serving([sys.executable, "-c", script], tuned, tmp_path / "stderr") as (_, told):
        assert told == "-tuned"
