"""Several workers behind one endpoint: each is told, and none that fails takes the others along."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from liquidation.metrics.exposition import Workers
from liquidation.metrics.prometheus import Metrics
from tests.service.metrics.scrapes import Scrape, rendered, scrape

SPAWN = multiprocessing.get_context("spawn")
# Long enough that a worker answers on a busy machine, where one is to answer.
PATIENCE_S = 30.0


def work(metrics_of: Connection, asked: Connection, claims: int, *, busy: bool) -> None:
    """A worker that begins claims when it is asked to, or else computes without a pause."""
    metrics = Metrics()
    _begin(metrics, claims)
    metrics.answer(metrics_of)
    asked.send([])
    while busy:
        pass
    while True:
        _begin(metrics, asked.recv())
        asked.send([thread.name for thread in threading.enumerate()])


def stopped(pid: int) -> bool:
    """Whether every thread of the process is stopped."""
    states = (task / "stat" for task in Path(f"/proc/{pid}/task").iterdir())
    return all(state.read_text().rpartition(")")[2].split()[0] == "T" for state in states)


def _begin(metrics: Metrics, claims: int) -> None:
    for _ in range(claims):
        metrics.claim_begun()


class Fleet:
    """Worker processes, and what gathers their metrics."""

    def __init__(self) -> None:
        self.workers = Workers(3, PATIENCE_S)
        self.processes: dict[int, SpawnProcess] = {}
        self.connections: dict[int, Connection] = {}
        self._asks: dict[int, Connection] = {}
        self._held: list[Connection] = []

    def start(self, index: int, claims: int, *, busy: bool = False) -> None:
        """Starts a worker; it answers scrapes when this returns."""
        ours, theirs = SPAWN.Pipe()
        asks, asked = SPAWN.Pipe()
        process = SPAWN.Process(target=work, args=(theirs, asked, claims), kwargs={"busy": busy})
        process.start()
        theirs.close()
        asked.close()
        asks.recv()
        self._asks[index] = asks
        self._held.append(asks)
        self.processes[index] = process
        self.connections[index] = ours
        self.workers.add(index, ours)

    def add_deaf(self, index: int) -> None:
        """A worker that takes all and answers nothing."""
        ours, theirs = SPAWN.Pipe()
        self._held.append(theirs)
        self.workers.add(index, ours)

    def add_half_answering(self, index: int) -> Connection:
        """A worker that says how long its answer is, and stops there."""
        ours, theirs = SPAWN.Pipe()
        # As `Connection` sends it: the length in four bytes, then so many bytes.
        os.write(theirs.fileno(), (1_000_000).to_bytes(4, "big") + b"half")
        self.workers.add(index, ours)
        return theirs

    def begin(self, index: int, claims: int) -> list[str]:
        """Lets a worker begin claims; returns the names of the threads that it has then."""
        self._asks[index].send(claims)
        names: list[str] = self._asks[index].recv()
        return names

    def signal(self, index: int, number: signal.Signals) -> None:
        process = self.processes[index]
        assert process.pid is not None
        os.kill(process.pid, number)
        # One thread takes the signal and stops the others, which run on until it does.
        while number is signal.SIGSTOP and not stopped(process.pid):
            time.sleep(0.001)

    def kill(self, index: int) -> None:
        self.processes[index].kill()
        self.processes[index].join()

    def impatient(self) -> None:
        """Does not wait any longer for what does not answer."""
        self.workers._patience_s = 0.1

    def patient(self) -> None:
        """Waits again for what is to answer."""
        self.workers._patience_s = PATIENCE_S

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()
        for each in self._held:
            each.close()

    @property
    def up(self) -> dict[str, float]:
        return {index: value for (index,), value in rendered(self.workers).series(UP).items()}


UP = "liquidation_worker_up"
BEGUN = "liquidation_claims_begun_total"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three workers that may be started."""
    fleet = Fleet()
    yield fleet
    fleet.close()


def until(happened: Callable[[], bool]) -> None:
    """Returns once it has happened."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"


def nobody_is_asked() -> bool:
    return all(thread.name != "scrape" for thread in threading.enumerate())


def begun(seen: Scrape) -> dict[str, float]:
    return {worker: value for (worker,), value in seen.series(BEGUN).items()}


def test_the_series_of_each_worker_are_told_under_its_number(fleet: Fleet) -> None:
    for index in range(3):
        fleet.start(index, claims=index + 1)
    endpoint = fleet.workers.serve("127.0.0.1:0")
    try:
        seen = scrape(endpoint.address)
    finally:
        endpoint.close()

    assert begun(seen) == {"0": 1, "1": 2, "2": 3}
    assert len(set(seen.series("process_start_time_seconds"))) == 3
    heads = [line for line in seen.text.splitlines() if line.startswith("# TYPE")]
    assert len(set(heads)) == len(heads)
    assert {name for name in seen.names if name.startswith("liquidation")} == {UP} | {
        name for name in rendered(Metrics()).names if name.startswith("liquidation")
    }


def test_a_worker_that_was_never_started_is_down(fleet: Fleet) -> None:
    fleet.start(1, claims=1)

    assert fleet.up == {"0": 0, "1": 1, "2": 0}


def test_a_worker_that_died_is_down_and_the_others_are_told(fleet: Fleet) -> None:
    fleet.start(0, claims=1)
    fleet.start(1, claims=2)
    assert fleet.up == {"0": 1, "1": 1, "2": 0}
    fleet.kill(0)

    for _ in range(3):
        seen = rendered(fleet.workers)

        assert begun(seen) == {"1": 2}
        assert seen.value(UP, worker="0") == 0


def test_a_worker_that_is_started_again_begins_at_0(fleet: Fleet) -> None:
    fleet.start(0, claims=5)
    assert begun(rendered(fleet.workers)) == {"0": 5}
    fleet.kill(0)
    fleet.start(0, claims=0)

    assert begun(rendered(fleet.workers)) == {"0": 0}
    assert fleet.up["0"] == 1


def test_a_worker_that_does_not_answer_is_down_until_it_does(fleet: Fleet) -> None:
    fleet.start(0, claims=1)
    fleet.start(1, claims=2)
    fleet.signal(0, signal.SIGSTOP)
    fleet.add_deaf(2)
    fleet.impatient()

    # However often it is asked, its pipe does not fill up.
    for _ in range(3):
        assert begun(rendered(fleet.workers)) == {"1": 2}
    fleet.signal(0, signal.SIGCONT)
    until(lambda: fleet.up["0"] == 1)

    assert begun(rendered(fleet.workers)) == {"0": 1, "1": 2}


def test_a_worker_that_stops_in_the_middle_of_its_answer_holds_nobody(fleet: Fleet) -> None:
    fleet.start(0, claims=1)
    half = fleet.add_half_answering(1)
    fleet.impatient()

    for _ in range(3):
        assert begun(rendered(fleet.workers)) == {"0": 1}
    half.close()
    until(nobody_is_asked)

    assert fleet.up == {"0": 1, "1": 0, "2": 0}


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(fleet: Fleet) -> None:
    fleet.start(0, claims=1)
    fleet.signal(0, signal.SIGSTOP)
    fleet.impatient()
    assert begun(rendered(fleet.workers)) == {}
    fleet.signal(0, signal.SIGCONT)
    until(nobody_is_asked)
    fleet.begin(0, claims=1)
    fleet.patient()

    assert begun(rendered(fleet.workers)) == {"0": 2}


def test_a_worker_that_computes_without_a_pause_answers(fleet: Fleet) -> None:
    fleet.start(0, claims=4, busy=True)

    assert begun(rendered(fleet.workers)) == {"0": 4}


def test_scrapes_at_once_each_get_all_workers(fleet: Fleet) -> None:
    for index in range(3):
        fleet.start(index, claims=index)

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: begun(rendered(fleet.workers)), range(40)))

    assert seen == [{"0": 0, "1": 1, "2": 2}] * 40


def test_a_worker_may_be_replaced_while_it_is_asked(fleet: Fleet) -> None:
    for index in range(2):
        fleet.start(index, claims=index)

    with ThreadPoolExecutor(1) as pool:
        scrapes = [pool.submit(lambda: begun(rendered(fleet.workers))) for _ in range(50)]
        fleet.kill(0)
        fleet.start(0, claims=7)
        seen = [each.result() for each in scrapes]

    assert all(each["1"] == 1 for each in seen)
    assert {each.get("0") for each in seen} <= {0, None, 7}
    assert begun(rendered(fleet.workers)) == {"0": 7, "1": 1}


def test_a_worker_goes_on_when_its_supervisor_hangs_up(fleet: Fleet) -> None:
    fleet.start(0, claims=1)
    assert "metrics" in fleet.begin(0, claims=0)
    fleet.connections.clear()
    fleet.workers = Workers(3)

    until(lambda: "metrics" not in fleet.begin(0, claims=0))
