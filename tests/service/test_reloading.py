"""Files that are read again: what is taken up and when, and what is told of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from liquidation.config.watched_file import WatchedFile

NOBODY = 65534


class BadNumberError(Exception):
    """What stands in the file is no number, or the file cannot be read."""


class Numbers:
    """A number in each file, read again when one of them changes."""

    def __init__(self, *paths: Path) -> None:
        self.told: list[tuple[str, str]] = []
        self.read = 0
        self.obstacle = ""
        self._paths = paths
        start = self._numbers()
        self.file = WatchedFile("numbers", paths, self._again, (BadNumberError,), start, self._tell)
        self.polls(2)
        assert self.read == 1, "it is read once more than at the start, in case it changed since"

    def polls(self, times: int) -> list[int]:
        """What is in force after so many polls."""
        for _ in range(times):
            self.file.poll()
        return self.file.current

    def reading(self, times: int) -> int:
        """How often the files are read in so many polls."""
        before = self.read
        self.polls(times)
        return self.read - before

    def _again(self) -> list[int]:
        self.read += 1
        return self._numbers()

    def _numbers(self) -> list[int]:
        if self.obstacle:
            raise BadNumberError(self.obstacle)
        try:
            return [int(path.read_text()) for path in self._paths]
        except OSError as error:
            raise BadNumberError(f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise BadNumberError("is no number") from error

    def _tell(self, name: str, problem: str, take: Callable[[], None]) -> None:
        take()
        self.told.append((name, problem))


TAKEN = ("numbers", "")
NO_NUMBER = ("numbers", "is no number")
MISSING = ("numbers", "cannot be read: No such file or directory")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


@pytest.fixture
def numbers(path: Path) -> Numbers:
    return Numbers(path)


def replace(path: Path, text: str) -> None:
    """Puts another file in the place of this one, as editors and operators do."""
    other = path.with_name("other")
    other.write_text(text)
    other.rename(path)


def test_a_change_is_taken_up_once_the_file_stands_still(path: Path, numbers: Numbers) -> None:
    path.write_text("22")

    assert numbers.polls(1) == [1]
    assert numbers.polls(1) == [22]
    assert numbers.told == [TAKEN]


def test_a_file_that_is_being_written_is_not_read(path: Path, numbers: Numbers) -> None:
    for _ in range(5):
        with path.open("a") as file:
            file.write("2")
        assert numbers.reading(1) == 0
    assert numbers.file.current == [1]

    assert numbers.polls(1) == [122222]
    assert numbers.told == [TAKEN]


def test_a_file_of_the_same_length_that_is_renamed_into_place_is_seen(
    path: Path, numbers: Numbers
) -> None:
    times = path.stat()
    replace(path, "2")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert numbers.polls(2) == [2]
    assert numbers.told == [TAKEN]


def test_a_directory_that_is_swapped_behind_links_is_seen_at_once_for_all_its_files(
    tmp_path: Path,
) -> None:
    """As Kubernetes renews a ConfigMap or a Secret that is mounted."""

    def mount(number: int) -> None:
        content = tmp_path / f"..{number}"
        content.mkdir()
        for name in ("a", "b"):
            (content / name).write_text(str(number))
        (tmp_path / "..data_tmp").symlink_to(content.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    mount(1)
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.symlink_to(f"..data/{path.name}")
    numbers = Numbers(*paths)

    mount(2)

    assert numbers.polls(1) == [1, 1]
    assert numbers.polls(1) == [2, 2]
    assert numbers.told == [TAKEN]


def test_of_several_files_a_change_of_one_is_enough(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("1")
    numbers = Numbers(*paths)

    paths[1].write_text("33")

    assert numbers.polls(2) == [1, 33]


def test_a_file_that_vanishes_leaves_what_it_said_in_force(path: Path, numbers: Numbers) -> None:
    path.unlink()

    assert numbers.polls(2) == [1]
    assert numbers.file.problem == "cannot be read: No such file or directory"
    numbers.polls(5)
    assert numbers.told == [MISSING]


def test_a_file_that_comes_back_as_it_was_is_sound_again(path: Path, numbers: Numbers) -> None:
    path.unlink()
    numbers.polls(2)

    path.write_text("1")

    assert numbers.polls(2) == [1]
    assert (numbers.file.problem, numbers.told) == ("", [MISSING, TAKEN])


def test_a_file_that_was_away_between_two_polls_alone_is_no_problem(
    path: Path, numbers: Numbers
) -> None:
    path.unlink()
    numbers.polls(1)
    path.write_text("1")
    numbers.polls(3)

    assert numbers.told == []


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Root may read everything, whatever its mode."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_is_taken_up_once_it_may(path: Path) -> None:
    # Under `tmp_path` root alone can see anything.
    with _without_privileges(), TemporaryDirectory() as directory:
        path = Path(directory) / "number"
        path.write_text("1")
        numbers = Numbers(path)

        path.write_text("22")
        path.chmod(0)
        assert numbers.polls(2) == [1]
        assert numbers.file.problem == "cannot be read: Permission denied"

        path.chmod(0o400)
        assert numbers.polls(2) == [22]
        assert numbers.told == [("numbers", "cannot be read: Permission denied"), TAKEN]


def test_what_could_not_be_taken_is_tried_again_although_the_file_is_as_it_was(
    path: Path, numbers: Numbers
) -> None:
    """As a certificate that is not valid yet, or a process that has too many files open."""
    numbers.obstacle = "is not valid yet"
    path.write_text("22")
    assert numbers.polls(5) == [1]

    numbers.obstacle = ""

    assert numbers.polls(1) == [22]
    assert numbers.told == [("numbers", "is not valid yet"), TAKEN]


def test_a_bad_file_changes_nothing_and_is_told_and_a_good_one_ends_that(
    path: Path, numbers: Numbers
) -> None:
    path.write_text("two")

    assert numbers.polls(2) == [1]
    assert numbers.file.problem == "is no number"
    path.write_text("22")
    assert numbers.polls(1) == [1]
    assert numbers.file.problem == "is no number"
    assert numbers.polls(1) == [22]
    assert numbers.file.problem == ""
    assert numbers.told == [NO_NUMBER, TAKEN]


def test_each_change_is_told_once_however_often_it_is_polled(path: Path, numbers: Numbers) -> None:
    for text in ("22", "two", "three", "333"):
        replace(path, text)
        numbers.polls(10)

    # The second of the bad ones is no other problem.
    assert numbers.told == [TAKEN, NO_NUMBER, TAKEN]


def test_a_touch_without_a_change_tells_nothing(path: Path, numbers: Numbers) -> None:
    os.utime(path)

    assert numbers.reading(2) == 1
    replace(path, "1")
    assert numbers.reading(2) == 1
    assert numbers.told == []


def test_a_file_that_stands_still_is_not_read_again(numbers: Numbers) -> None:
    assert numbers.reading(20) == 0


def test_a_reload_takes_a_change_at_once_and_tells_it_once(path: Path, numbers: Numbers) -> None:
    path.write_text("22")

    numbers.file.reload()

    assert numbers.file.current == [22]
    numbers.polls(3)
    numbers.file.reload()
    assert numbers.told == [TAKEN]


def test_a_reload_of_a_bad_file_keeps_what_is_in_force(path: Path, numbers: Numbers) -> None:
    path.write_text("two")

    numbers.file.reload()

    assert (numbers.file.current, numbers.told) == ([1], [NO_NUMBER])


def test_a_fault_in_reading_is_no_problem_of_the_file_and_keeps_what_is_in_force(
    path: Path,
) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    told: list[str] = []
    file = WatchedFile(
        "n", [path], broken, (BadNumberError,), 1, lambda name, *_: told.append(name)
    )

    with pytest.raises(ZeroDivisionError):
        file.reload()

    assert (file.current, file.problem, told) == (1, "", [])


def test_whoever_hears_of_what_was_read_may_bring_it_into_force(path: Path) -> None:
    seen: list[int] = []

    def reload(_: str, __: str, take: Callable[[], None]) -> None:
        seen.append(file.current)
        take()
        seen.append(file.current)

    file = WatchedFile("n", [path], lambda: int(path.read_text()), (BadNumberError,), 1, reload)
    path.write_text("22")

    file.reload()

    assert seen == [1, 22]
    assert file.current == 22


def test_what_is_read_is_in_force_even_if_it_cannot_be_reported(path: Path) -> None:
    def fail(_: str, __: str, ___: Callable[[], None]) -> None:
        raise ZeroDivisionError

    file = WatchedFile("n", [path], lambda: int(path.read_text()), (BadNumberError,), 1, fail)
    path.write_text("22")

    with pytest.raises(ZeroDivisionError):
        file.reload()

    assert file.current == 22
