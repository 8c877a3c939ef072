"""Reading a log: every entry of it, whatever else stands in the files."""

import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from liquidation.analysis.reader import Broken, Lines, Reader, follow, with_rotated
from liquidation.analysis.search import line_time, parse_moment

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def line(name: str, **fields: Any) -> bytes:
    head = {"timestamp": "2026-11-22T18:00:00.000000Z", "level": "info", "event": "decision"}
    return json.dumps(head | {"decision_id": name} | fields, separators=(",", ":")).encode() + b"\n"


def names(reader: Reader) -> list[str]:
    return [entry.fields["decision_id"] for entry in reader]


def a_file(folder: Path, content: bytes, name: str = "decisions.log") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_entries_come_with_their_bytes_and_their_place(tmp_path: Path) -> None:
    path = a_file(tmp_path, line("a") + b"\n" + line("b", seq=1))

    first, second = Reader([path])

    assert first.raw + b"\n" == line("a")
    assert (first.source, second.source) == (f"{path}:1", f"{path}:3")


def test_what_is_no_line_of_the_log_is_told_and_passed_over(tmp_path: Path) -> None:
    foreign = (
        b"Starting up",
        b"[1]",
        b"3",
        b'"event"',
        b"null",
        b'{"x":1}',
        b'{"event":7}',
        b"\xff",
    )
    path = a_file(tmp_path, line("a") + b"\n".join(foreign) + b"\n" + line("b"))
    told: list[Broken] = []
    reader = Reader([path], told.append)

    assert names(reader) == ["a", "b"]
    assert reader.broken == len(foreign)
    assert [each.source for each in told] == [f"{path}:{number}" for number in range(2, 10)]
    assert [each.problem for each in told] == [
        "is not JSON",
        "is not an object",
        "is not an object",
        "is not an object",
        "is not an object",
        "has no event",
        "has no event",
        "is not JSON",
    ]


def test_of_many_broken_lines_the_first_are_remembered_and_all_counted(tmp_path: Path) -> None:
    reader = Reader([a_file(tmp_path, b"x\n" * 50_000)])

    assert names(reader) == []
    assert (reader.broken, len(reader.first_broken)) == (50_000, 10)


def test_a_last_line_without_its_newline_counts_where_it_is_whole(tmp_path: Path) -> None:
    whole = Reader([a_file(tmp_path, line("a") + line("b").rstrip())])
    torn = Reader([a_file(tmp_path, line("a") + line("b")[:40], "torn.log")])

    assert (names(whole), whole.broken) == (["a", "b"], 0)
    assert (names(torn), torn.first_broken[0].problem) == (["a"], "is cut short")


def test_a_line_behind_a_torn_one_is_found(tmp_path: Path) -> None:
    reader = Reader([a_file(tmp_path, line("a")[:40] + line("b") + line("c"))])

    assert (names(reader), reader.broken) == (["b", "c"], 1)


def test_a_line_that_is_too_long_is_passed_over_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("liquidation.analysis.reader._MAX_LINE", 1000)
    told: list[Broken] = []
    lines = Lines("log", told.append)
    content = line("a") + b"x" * 5000 + b"\n" + line("b")

    chunks = [content[start : start + 100] for start in range(0, len(content), 100)]
    found = [entry.fields["decision_id"] for chunk in chunks for entry in lines.feed(chunk)]

    assert found == ["a", "b"]
    assert [(each.line, each.problem) for each in told] == [(2, "is longer than 1000 bytes")]


def test_lines_are_whole_wherever_the_chunks_end() -> None:
    content = line("a") + line("ä" * 10) + b"\r\n" + line("c")
    for size in range(1, 60):
        told: list[Broken] = []
        lines = Lines("log", told.append)
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        found = [entry for chunk in chunks for entry in lines.feed(chunk)]
        assert ([entry.line for entry in found], told) == ([1, 2, 4], [])


def test_compressed_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    both = gzip.compress(line("a")) + gzip.compress(line("b") * 100_000)
    reader = Reader([a_file(tmp_path, both, "decisions.old")])

    assert len(names(reader)) == 100_001
    assert reader.broken == 0


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_damaged_compressed_file_is_read_as_far_as_it_goes(tmp_path: Path, keep: float) -> None:
    content = b"".join(line(str(number), text=os.urandom(20).hex()) for number in range(20_000))
    compressed = gzip.compress(content)
    path = a_file(tmp_path, compressed[: int(len(compressed) * keep)], "decisions.log.1.gz")
    reader = Reader([path, a_file(tmp_path, line("last"))])

    found = names(reader)

    assert 20_000 * keep * 0.9 < len(found) < 20_000
    assert found[-1] == "last"
    assert reader.first_broken[0].problem == "the compressed data is damaged from here on"


@pytest.mark.parametrize("paths", [(), (None,), (Path("-"),)])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_standard_input_is_a_log_too(
    paths: tuple[Path | None, ...],
    compress: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = io.TextIOWrapper(io.BytesIO(compress(line("a") + b"x\n")))
    monkeypatch.setattr(sys, "stdin", given)
    reader = Reader(paths)

    assert (names(reader), reader.first_broken[0].source) == (["a"], "-:2")


def test_rotated_files_come_oldest_first(tmp_path: Path) -> None:
    rotated = ("-20261120.gz", "-20261121", ".10.gz", ".2.gz", ".2", ".1", "")
    for ending in (*rotated, ".bak", ".1.tmp", "2"):
        a_file(tmp_path, b"", f"decisions.log{ending}")

    paths = with_rotated(tmp_path / "decisions.log")

    found = [path.name.removeprefix("decisions.log") for path in paths]
    assert found == ["-20261120.gz", "-20261121", ".10.gz", ".2", ".1", ""]


def test_a_log_without_rotated_files_is_itself(tmp_path: Path) -> None:
    assert with_rotated(tmp_path / "decisions.log") == [tmp_path / "decisions.log"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", "2026-11-22T17:30:00.000000Z"),
        ("2h", "2026-11-22T16:00:00.000000Z"),
        ("7d", "2026-11-15T18:00:00.000000Z"),
        ("2026-11-22T17:00:00Z", "2026-11-22T17:00:00.000000Z"),
        ("2026-11-22T17:00:00.5+02:00", "2026-11-22T15:00:00.500000Z"),
        ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
    ],
)
def test_a_moment_is_a_time_or_so_long_ago(text: str, moment: str) -> None:
    found = parse_moment(text, NOW)

    assert found is not None
    assert line_time(found) == moment


@pytest.mark.parametrize("text", ["", "h", "-2h", "2 h", "yesterday", "999999999d", "1.5h"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert parse_moment(text, NOW) is None


class Steps:
    """What happens to a log while it is followed: a step each time there is nothing to read."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = iter(steps)

    def __call__(self) -> None:
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def followed(path: Path, *steps: Callable[[], object]) -> tuple[list[str], list[Broken]]:
    """The entries that were seen until nothing more happens."""
    told: list[Broken] = []

    def entries() -> Iterator[str]:
        try:
            for entry in follow([path], Steps(*steps), told.append):
                yield entry.fields["decision_id"]
        except KeyboardInterrupt:
            return

    return list(entries()), told


def append(path: Path, content: bytes) -> Callable[[], object]:
    def step() -> None:
        with path.open("ab") as file:
            file.write(content)

    return step


def test_following_goes_on_with_what_is_written_line_by_line(tmp_path: Path) -> None:
    path = a_file(tmp_path, line("a") + line("b")[:30])

    found, told = followed(
        path, append(path, line("b")[30:]), append(path, b"x\n"), append(path, line("c"))
    )

    assert found == ["a", "b", "c"]
    assert [each.line for each in told] == [3]


def test_following_goes_on_in_the_new_file_and_in_the_renamed_one(tmp_path: Path) -> None:
    path, renamed = a_file(tmp_path, line("a")), tmp_path / "decisions.log.1"

    found, told = followed(
        path,
        lambda: path.rename(renamed),
        append(renamed, line("b")),
        append(path, line("c")),
        append(renamed, line("d")),
        append(path, line("e")),
    )

    assert (found, told) == (["a", "b", "c", "d", "e"], [])


def test_following_begins_anew_where_a_file_was_copied_and_truncated(tmp_path: Path) -> None:
    path = a_file(tmp_path, line("a") + line("b"))

    found, told = followed(
        path,
        lambda: os.truncate(path, 0),
        append(path, line("c")),
        # Between two looks it is truncated and grows past its former size.
        lambda: path.write_bytes(line("d") + line("e") + line("f")),
    )

    assert (found, told) == (["a", "b", "c", "d", "e", "f"], [])


def test_following_many_rotations_keeps_few_files_open(tmp_path: Path) -> None:
    path = a_file(tmp_path, line("0"))
    steps: list[Callable[[], object]] = []
    for number in range(1, 30):

        def rotate(number: int = number) -> None:
            path.rename(tmp_path / f"decisions.log.{number}")
            a_file(tmp_path, line(str(number)))

        steps.append(rotate)
    before = len(list(Path("/proc/self/fd").iterdir()))
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(list(Path("/proc/self/fd").iterdir())) - before)

    found, _ = followed(path, *steps, look)

    assert found == [str(number) for number in range(30)]
    assert 0 < most <= 6
