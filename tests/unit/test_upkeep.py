"""The rounds of health and of the lease reaper, on a store that answers late or not at all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from liquidation.metrics import Instruments
from liquidation.server.health import Health
from liquidation.server.lease_reaper import LeaseReaper
from liquidation.store.base import StoreUnavailableError
from liquidation.transport import HealthTable
from tests.unit.logs import Log
from tests.unit.stores import SilentStore

DAY_US = 24 * 3600 * 1_000_000
SERVICES = {"reads": False, "writes": True}


class Table(HealthTable):
    """What is shown of each entry now."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, bool] = {}

    def set(self, name: str, serving: bool) -> None:
        self.shown[name] = serving


class Upkeep:
    """Health and the reaper over a store that a test answers for."""

    def __init__(self, directory: Path) -> None:
        self.store = SilentStore()
        self.table = Table()
        self.logged = Log(directory / "log")
        self.expired: list[Any] = []
        store: Any = self.store
        self.reaper = LeaseReaper(
            store, 0.0, self.expired.append, lambda: 24 * 3600, self.logged.log
        )
        self.health = Health(
            store, 0.0, self.reaper, [], self.table, SERVICES, self.logged.log, Instruments()
        )


@pytest.fixture
def upkeep(tmp_path: Path) -> Upkeep:
    return Upkeep(tmp_path)


@contextmanager
def answered(store: SilentStore, answers: dict[str, Any]) -> Iterator[None]:
    """Meanwhile the store answers what it is asked, on a thread of its own."""
    ended = threading.Event()

    def answer() -> None:
        while not ended.wait(0.001):
            while store.asked:
                what, done = store.asked.pop(0)
                done(answers[what.partition(" ")[0]])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


SOUND: dict[str, Any] = {"probe": None, "count_active": 0, "expire": (), "purge": 0}


def test_a_store_that_does_not_answer_is_a_problem_and_is_not_asked_again_meanwhile(
    upkeep: Upkeep,
) -> None:
    for _ in range(3):
        upkeep.health.refresh()

    ((what, done),) = upkeep.store.asked
    assert what == "probe"
    assert upkeep.table.shown == {
        "": False,
        "reads": False,
        "writes": False,
        "store": False,
        "live": True,
    }
    assert upkeep.table.problems == {"store": "no answer within 0 s"}
    upkeep.store.asked.clear()
    done(None)
    with answered(upkeep.store, SOUND):
        while not upkeep.table.shown["store"]:
            upkeep.health.refresh()
    assert upkeep.table.problems == {}
    assert [line["event"] for line in upkeep.logged.lines()] == [
        "store_unavailable",
        "store_available",
    ]


def test_where_the_store_cannot_be_written_what_reads_serves_on(upkeep: Upkeep) -> None:
    unwritable = SOUND | {"expire": StoreUnavailableError("read-only")}
    with answered(upkeep.store, unwritable):
        upkeep.reaper.reap()
        upkeep.health.refresh()

    assert upkeep.table.shown == {
        "": False,
        "reads": True,
        "writes": False,
        "store": False,
        "live": True,
    }
    assert upkeep.table.problems == {"store": "read-only"}


def test_health_that_has_ended_shows_nothing_more(upkeep: Upkeep) -> None:
    upkeep.health.end()
    with answered(upkeep.store, SOUND):
        upkeep.health.refresh()

    assert upkeep.table.shown == {}


def test_a_round_reports_each_lease_that_ran_out_and_forgets_until_little_is_left(
    upkeep: Upkeep,
) -> None:
    asked: list[str] = []
    left = [500, 500, 20]

    def note(what: str, done: Callable[[Any], None]) -> None:
        asked.append(what)
        done(("a", "b") if what.startswith("expire") else left.pop(0))

    store: Any = upkeep.store
    store.expire = lambda most, done: note(f"expire {most}", done)
    store.purge = lambda retention_us, most, done: note(f"purge {retention_us} {most}", done)

    upkeep.reaper.reap()

    assert asked == ["expire 500", *[f"purge {DAY_US} 500"] * 3]
    assert upkeep.expired == ["a", "b"]
    assert upkeep.reaper.problem == ""


def test_leases_that_are_told_too_late_are_reported_all_the_same_and_only_then_asked_for_again(
    upkeep: Upkeep,
) -> None:
    for _ in range(2):
        upkeep.reaper.reap()
    ((_, done),) = upkeep.store.asked
    assert upkeep.reaper.problem == "no answer within 0 s"
    upkeep.store.asked.clear()

    done(("late",))

    assert upkeep.expired == ["late"]
    with answered(upkeep.store, SOUND):
        while upkeep.reaper.problem:
            upkeep.reaper.reap()
    events = [line["event"] for line in upkeep.logged.lines()]
    assert set(events) == {"settling_failed"}
