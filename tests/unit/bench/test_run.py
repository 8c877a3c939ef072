"""The benchmark of the bars runs, in a short form; what it takes for right is checked."""

import sys
from pathlib import Path

import pytest

from bench import builds, handler, run
from bench.bars import BARS, GROUPS, Bar, Fact
from bench.builds import UnavailableError
from bench.load import Shape, require_clients
from bench.memory import at_rest, growth
from bench.rounds import Cell, Group, Measured, Round
from bench.run import available, compare
from bench.scenarios import SCENARIOS, Scenario, verify
from bench.servers import SERVERS, code_in, running
from bench.table import bars, groups

FEW = Shape(2, 2)


def _clients_missing() -> str:
    try:
        require_clients()
    except UnavailableError as error:
        return str(error)
    return ""


needs_clients = pytest.mark.skipif(bool(_clients_missing()), reason=_clients_missing())


def test_each_bar_is_read_from_cells_that_are_interleaved() -> None:
    for bar in BARS:
        assert any({bar.cell, bar.against} <= set(group) for group in GROUPS.values()), bar


@needs_clients
def test_cells_are_measured_and_shown(tmp_path: Path) -> None:
    names = ("accepted", "refused", "explained", "batch of 100", "stream of 128", "begin")
    group = (Cell("empty", "accepted", FEW), *(Cell("ours", name, FEW) for name in names))

    measured = compare({"all": group}, 1, 0.01, tmp_path)

    assert measured.groups[0].rounds.keys() == set(group)
    for figure in ("per_second", "p99_us"):
        assert all(measured.groups[0].median(cell, figure) > 0 for cell in group)
    assert len(groups(measured)) == 2 + len(group)


@needs_clients
def test_a_decision_that_was_not_asked_for_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(address: str, scenario: Scenario) -> None:
        verify(address, scenario)
        verify(address, scenario)

    monkeypatch.setattr(run, "verify", twice)
    with pytest.raises(RuntimeError, match=r"ours logged .* decisions by code, not "):
        compare({"one": [Cell("ours", "accepted", FEW)]}, 1, 0.01, tmp_path)


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
def test_a_line_has_the_code_of_its_decision_when_a_call_was_made(
    line: bytes, code: int | None
) -> None:
    assert code_in(line) == code


def test_a_server_that_cannot_be_had_is_skipped_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> Path:
        raise UnavailableError("it needs Debian's package golang-go")

    monkeypatch.setattr(builds, "go_sidecar", missing)
    group = [Cell("empty", "accepted", FEW), Cell("Go", "accepted", FEW)]

    kept, skipped = available({"both": group, "Go alone": group[1:]})

    assert kept == {"both": group[:1]}
    assert skipped == ["Skipped: Go: it needs Debian's package golang-go."]


def test_a_program_that_cannot_be_built_is_named_with_its_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(builds, "_BUILT", tmp_path / "built")

    with pytest.raises(UnavailableError, match=r"go is not installed: .*golang-google-grpc-dev"):
        builds.go_sidecar.__wrapped__()
    monkeypatch.setattr(builds, "CERBOS_PROGRAM", tmp_path / "cerbos")
    with pytest.raises(UnavailableError, match="npm's package @cerbos/cerbos-linux-x64@"):
        builds.cerbos.__wrapped__()
    with pytest.raises(UnavailableError, match=f"commit {builds.RELEASE} is not in this"):
        builds.release.__wrapped__()


@pytest.mark.parametrize("bound", [2.0, 3.0])
def test_a_bar_is_met_at_its_bound(bound: float) -> None:
    cell, baseline = Cell("ours", "accepted", FEW), Cell("empty", "accepted", FEW)
    rounds = {cell: [Round(200, 1, 1, 1, 1)], baseline: [Round(100, 1, 1, 1, 1)] * 3}

    fact = Bar("calls", cell, baseline, bound).read(Measured([Group(rounds)]))

    assert fact.figure == 2
    assert fact.is_met is (bound == 2)
    assert ("| not met |" in bars([fact])[-1]) is (bound == 3)


def test_the_bound_of_a_latency_is_the_most_it_may_be() -> None:
    cell, baseline = Cell("ours", "accepted", FEW), Cell("empty", "accepted", FEW)
    rounds = {cell: [Round(1, 70, 1, 1, 1)], baseline: [Round(1, 100, 1, 1, 1)]}

    assert Bar("p50", cell, baseline, 0.8, "p50_us").read(Measured([Group(rounds)])).is_met


def test_cells_that_were_not_interleaved_are_not_compared() -> None:
    bar = BARS[0]
    alone = [Group({cell: [Round(1, 1, 1, 1, 1)]}) for cell in (bar.cell, bar.against)]

    fact = bar.read(Measured(alone))

    assert fact.figure is None
    assert not fact.is_met
    assert "| not taken |" in bars([fact])[-1]


def test_every_scenario_is_answered_as_it_should_be(tmp_path: Path) -> None:
    with running("ours", tmp_path) as server:
        for scenario in SCENARIOS.values():
            verify(server.address, scenario)


def test_an_answer_that_is_not_right_fails_the_run(tmp_path: Path) -> None:
    with running("empty", tmp_path) as server:
        with pytest.raises(RuntimeError, match="answered b''"):
            verify(server.address, SCENARIOS["accepted"])
        with pytest.raises(RuntimeError, match="accepted what has to be refused"):
            verify(server.address, SCENARIOS["refused"])


@needs_clients
def test_memory_is_measured_with_its_bounds(tmp_path: Path) -> None:
    rest = at_rest(tmp_path / "rest")
    grown = growth(tmp_path / "growth", calls=200, part=100)

    assert rest.figure is not None
    assert 1 < rest.figure < 200
    assert grown.figure is not None
    assert rest.at_most
    assert grown.at_most


def test_a_handler_that_cannot_be_had_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> list[str]:
        raise UnavailableError("no such commit")

    monkeypatch.setattr(handler, "_PROGRAMS", {"ours": list, "release before": missing})
    monkeypatch.setattr(handler, "_microseconds", lambda _: 1.0)

    assert handler.compare(rounds=1) == Fact(
        "handler alone, hot, thread time", "release before", 0.3, None, at_most=True
    )


def test_handlers_are_compared_by_what_their_programs_print(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "print.py"
    program.write_text("import sys; print('a line of log'); print(sys.argv[1])")
    programs = {"ours": lambda: [str(program), "3"], "release before": lambda: [str(program), "12"]}
    monkeypatch.setattr(handler, "_PROGRAMS", programs)

    assert handler.compare(rounds=1).figure == 0.25


def test_every_server_of_a_group_takes_its_scenario() -> None:
    for group in GROUPS.values():
        for cell in group:
            assert cell.scenario in SERVERS[cell.server].scenarios
    assert SERVERS["ours"].command()[0] == sys.executable
