"""The short form of fuzzing: what is kept is looked at once more, and then a little further."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from liquidation.analysis import reader
from liquidation.auth import keys as api_keys
from liquidation.decisionlog import entry
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import numbers, policy
from tests.attacks.fuzz import seam
from tests.attacks.fuzz.run import CORPUS, FOUND, ROOT, engine, kept
from tests.attacks.fuzz.target import TARGETS, Look, target_of

Plant = Callable[[pytest.MonkeyPatch], None]

_NEEDS_ATHERIS = pytest.mark.skipif(
    not seam.installed(), reason="atheris has no wheel for this platform or this Python"
)
# Executions of a target in the short form, behind those of what is kept.
_RUNS = {"rpc": 150, "decimals": 2000, "rules": 1000, "keys": 1000, "log": 300}


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_kept_or_begun_with_are_sound(name: str, tmp_path: Path) -> None:
    target = target_of(name)
    inputs = [*kept(name), *target.seeds()]

    with target.opened(tmp_path) as look:
        look_at_all(look, inputs)

    assert len(inputs) > 20


@_NEEDS_ATHERIS
@pytest.mark.parametrize("name", TARGETS)
def test_a_seeded_run_finds_nothing(name: str, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    grown.mkdir()
    runs = len(list((CORPUS / name).iterdir())) + _RUNS[name]

    ended = fuzzed(name, tmp_path, runs, str(grown), str(CORPUS / name))

    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"Done {runs} runs" in ended.stderr


@_NEEDS_ATHERIS
def test_a_defect_behind_four_branches_is_found(tmp_path: Path) -> None:
    ended = fuzzed("planted", tmp_path, 200_000)

    assert ended.returncode != 0
    (found,) = tmp_path.glob("crash-*")
    assert found.read_bytes().startswith(b"rule")


def look_at_all(look: Look, inputs: Iterable[bytes]) -> None:
    for each in inputs:
        look(each)


def fuzzed(name: str, directory: Path, runs: int, *inputs: str) -> subprocess.CompletedProcess[str]:
    """A run of so many executions; the same in every run of the tests."""
    arguments = (f"-runs={runs}", "-seed=1", "-timeout=10", f"-artifact_prefix={directory}/")
    return subprocess.run(
        engine(name, directory, (*arguments, *inputs)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def reads_any_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?").fullmatch
    monkeypatch.setattr(numbers, "_DECIMAL", pattern)
    # What was read before is remembered.
    monkeypatch.setattr(numbers, "_parsed", numbers._parsed.__wrapped__)


def shows_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_LONGEST_SHOWN", 100)


def writes_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_written", str)


def forgets_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.Lines, "end", lambda _: iter(()))


def takes_every_time_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "SerializeToJsonError", KeyError)


def logs_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecisionLog, "decision", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("decimals", reads_any_digits),
        ("keys", shows_long_names),
        ("rules", writes_any_number),
        ("log", forgets_the_last_line),
        ("rpc", takes_every_time_for_one),
        ("rpc", logs_no_decision),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_defect_in_the_service_is_noticed(
    name: str, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(name)
    inputs = [*kept(name), *target.seeds()]
    plant(monkeypatch)

    with target.opened(tmp_path) as look, pytest.raises((AssertionError, ValueError)):
        look_at_all(look, inputs)


def test_what_is_kept_is_small() -> None:
    files = [path for place in (CORPUS, FOUND) for path in place.rglob("*") if path.is_file()]

    assert len(files) <= 300
    assert sum(path.stat().st_size for path in files) <= 400 * 1024
