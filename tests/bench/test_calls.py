"""The harness for calls runs, in a short form; what it takes for right is looked at."""

import sys
from pathlib import Path

import pytest

from bench import clients
from bench.bars import BARS, FULL, QUICK, Bar
from bench.calls import answer_in, compare, present, rules_alone
from bench.clients import load
from bench.contestants import CONTESTANTS, running
from bench.h2load import Shape, framed, missing
from bench.memory import at_rest, growth
from bench.processes import usage
from bench.rounds import Cell, Group, Measured, Round
from bench.scenarios import SCENARIOS, Scenario, put_stored, verify
from bench.table import bars, groups

FEW = Shape(2, 2)
PLAIN = [name for name, each in CONTESTANTS.items() if each.decides and name != "naive"]

needs_h2load = pytest.mark.skipif(bool(missing()), reason=missing())


def test_each_bar_is_read_from_cells_that_are_measured_together() -> None:
    for bar in BARS:
        assert any({bar.cell, bar.baseline} <= set(group) for group in QUICK), bar


def test_the_long_run_holds_the_short_one() -> None:
    assert set(QUICK) <= set(FULL)


def test_claims_are_measured_last() -> None:
    begins = [any(cell.scenario == "begin" for cell in group) for group in FULL]

    assert begins == sorted(begins)


def test_a_group_ends_with_its_baseline_again() -> None:
    for first, *_, last in FULL:
        assert last == Cell(
            first.contestant, first.scenario, first.shape, first.by_load, again=True
        )


def test_cells_are_measured_and_told(tmp_path: Path) -> None:
    group = (
        Cell("empty", "accepted", FEW),
        *(Cell("ours", scenario, FEW) for scenario in ("accepted", "refused", "batch of 10")),
        *(Cell("ours", scenario, FEW, by_load=True) for scenario in ("stream of 128", "begin")),
    )

    measured = compare([group], 1, 0.01, tmp_path)

    assert measured.groups[0].rounds.keys() == set(group)
    assert all(measured.groups[0].median(cell, "per_second") > 0 for cell in group)
    assert all(measured.groups[0].median(cell, "p99_us") > 0 for cell in group)
    assert len(groups(measured)) == 2 + len(group)


def test_a_decision_that_was_not_asked_for_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(address: str, scenario: Scenario) -> None:
        verify(address, scenario)
        verify(address, scenario)

    monkeypatch.setattr("bench.calls.verify", twice)
    with pytest.raises(RuntimeError, match=r"ours logged .* decisions by code, not "):
        compare([[Cell("ours", "accepted", FEW)]], 1, 0.01, tmp_path)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"event":"decision","rpc":"CheckClaim","code":0}', 0),
        (b'{"event":"decision","rpc":"CheckClaim","code":-1003}', -1003),
        (b'{"rpc": "BeginClaim", "event": "claim", "code": -1201}', -1201),
        (b'{"event":"claim","change":"expire","rpc":"","code":0}', None),
        (b'{"event":"liquidation","rpc":"BatchPutLiquidations","code":0}', None),
    ],
)
def test_a_line_tells_what_a_call_was_answered_where_one_was_made(
    line: bytes, code: int | None
) -> None:
    assert answer_in(line) == code


def test_a_contestant_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.calls.absent", lambda name: "no compiler" * (name == "empty, C++"))

    kept, why = present([[Cell("empty", "accepted", FEW), Cell("empty, C++", "accepted", FEW)]])

    assert [[cell.contestant for cell in group] for group in kept] == [["empty"]]
    assert why == ["Left out: empty, C++: no compiler."]


@pytest.mark.parametrize("bound", [2.0, 3.0])
def test_a_bar_is_met_at_its_bound(bound: float) -> None:
    cell, baseline = Cell("ours", "accepted", FEW), Cell("empty", "accepted", FEW)
    rounds = {cell: [Round(200, 1, 1, 1, 1)], baseline: [Round(100, 1, 1, 1, 1)] * 3}
    measured = Measured([Group(rounds)])

    fact = Bar("ours", "empty", cell, baseline, bound).read(measured)

    assert fact.figure == 2
    assert fact.is_met is (bound == 2)
    assert ("| not met |" in bars([fact])[-1]) is (bound == 3)


def test_cells_that_did_not_take_turns_are_not_compared() -> None:
    bar = BARS[0]
    alone = [Group({cell: [Round(1, 1, 1, 1, 1)]}) for cell in (bar.cell, bar.baseline)]

    assert bar.read(Measured(alone)).figure is None


def test_a_bar_whose_cells_are_not_measured_is_not_met() -> None:
    fact = BARS[0].read(Measured())

    assert fact.figure is None
    assert not fact.is_met


def test_every_scenario_is_answered_rightly(tmp_path: Path) -> None:
    with running("ours", tmp_path) as server:
        put_stored(server.address)
        for scenario in SCENARIOS.values():
            verify(server.address, scenario)


def test_an_answer_that_is_not_right_ends_the_run(tmp_path: Path) -> None:
    with running("empty", tmp_path) as server:
        with pytest.raises(RuntimeError, match="answered b''"):
            verify(server.address, SCENARIOS["accepted"])
        with pytest.raises(RuntimeError, match="accepted what has to be refused"):
            verify(server.address, SCENARIOS["refused"])


def test_a_status_that_is_not_the_expected_ends_the_run(tmp_path: Path) -> None:
    with (
        running("empty", tmp_path) as server,
        pytest.raises(RuntimeError, match=r"codes \{'0': 4\}"),
    ):
        load(server.address, SCENARIOS["refused"], FEW, 4, tmp_path, by_load=True)


@pytest.mark.parametrize("name", PLAIN)
def test_deciding_contestants_start_and_decide(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as server:
        put_stored(server.address)
        verify(server.address, SCENARIOS["accepted"])


@needs_h2load
@pytest.mark.parametrize("name", ["empty", "empty, unix", "empty, threads"])
def test_empty_contestants_answer_h2load(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as server:
        before = usage(server.pid)
        done = load(server.address, SCENARIOS["accepted"], FEW, 400, tmp_path, by_load=False)
        used = usage(server.pid).since(before)

    assert (done.calls, done.per_second > 0, used.switches > 0) == (400, True, True)
    assert 0 < done.p50_us <= done.p99_us


@pytest.mark.parametrize("name", ["accepted", "refused", "stream of 128", "stream, ping-pong"])
def test_the_python_client_does_for_the_native_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "load_command", lambda: [sys.executable, "-m", "bench.load"])
    with running("ours", tmp_path) as server:
        put_stored(server.address)
        done = load(server.address, SCENARIOS[name], FEW, 300, tmp_path, by_load=True)

    assert (done.calls, done.per_second > 0) == (300, True)
    assert 0 < done.p50_us <= done.p99_us


def test_a_message_is_framed_with_its_length() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"


def test_memory_and_rules_are_told_with_their_bounds(tmp_path: Path) -> None:
    (tmp_path / "rest").mkdir()
    (tmp_path / "growth").mkdir()

    assert at_rest(tmp_path / "rest").is_met
    grown = growth(tmp_path / "growth", calls=200, part=100)
    assert grown.figure is not None
    figure = rules_alone().figure
    assert figure is not None
    assert figure > 0
