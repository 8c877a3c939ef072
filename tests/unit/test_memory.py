"""Calls that wait for their callers are ended while the process holds too much memory."""

from pathlib import Path

from liquidation.server.upkeep import MemoryGuard, most_untaken
from tests.unit.logs import Log


class Process:
    """A process that holds as much as a test says, and gives back some when it is asked to."""

    def __init__(self, path: Path) -> None:
        self.held = 0
        self.freed = 0
        self.sheds = 0
        self.log = Log(path)
        self.guard = MemoryGuard(100, self._shed, self.log.log, lambda: self.held, self._trim)

    def _shed(self) -> int:
        self.sheds += 1
        return 3

    def _trim(self) -> None:
        self.held -= self.freed


def test_calls_are_ended_while_more_is_held_than_may_be(tmp_path: Path) -> None:
    process = Process(tmp_path / "log")
    for process.held in (100, 101, 100):
        process.guard.check()

    assert process.sheds == 1
    (line,) = process.log.lines()
    assert (line["level"], line["event"]) == ("warning", "calls_shed")
    assert (line["calls"], line["resident_bytes"]) == (3, 101)


def test_what_was_freed_is_given_back_before_a_call_is_ended(tmp_path: Path) -> None:
    process = Process(tmp_path / "log")
    process.held, process.freed = 150, 50

    process.guard.check()

    assert process.sheds == 0
    assert process.log.lines() == []


def test_answers_that_are_not_taken_may_hold_a_quarter_of_the_bound() -> None:
    assert most_untaken(400) == 100
    assert most_untaken(0) == 0
