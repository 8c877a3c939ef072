"""gRPC's environment is set before gRPC reads it, and never against an operator's word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from liquidation.server import grpc_environment
from liquidation.server.grpc_environment import EXPERIMENTS, VERBOSITY, prepare

ROOT = Path(__file__).parents[2]


def test_the_listener_is_turned_off_where_grpc_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EXPERIMENTS, raising=False)
    monkeypatch.delenv(VERBOSITY, raising=False)

    prepare()

    assert os.environ[EXPERIMENTS] == "-event_engine_listener"
    assert os.environ[VERBOSITY] == "NONE"


def test_what_an_operator_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXPERIMENTS, "")
    monkeypatch.setenv(VERBOSITY, "INFO")

    prepare()

    assert os.environ[EXPERIMENTS] == ""
    assert os.environ[VERBOSITY] == "INFO"


def test_a_grpc_that_does_not_know_the_switch_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(EXPERIMENTS, raising=False)
    monkeypatch.setattr(grpc_environment, "_LISTENER", "a_switch_of_tomorrow")

    prepare()

    assert EXPERIMENTS not in os.environ


def test_the_server_sets_it_before_grpc_is_imported() -> None:
    program = (
        "import os, sys\n"
        "from liquidation.server import grpc_environment\n"
        "prepare = grpc_environment.prepare\n"
        "def look():\n"
        "    print('grpc' in sys.modules)\n"
        "    prepare()\n"
        "import liquidation.cli\n"
        "liquidation.cli.prepare = look\n"
        "liquidation.cli.main(['serve', '--help'])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert told.stdout.splitlines()[0] == "False"
    assert "experiment" not in told.stderr.lower()
